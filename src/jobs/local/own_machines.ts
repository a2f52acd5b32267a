/** The workers of this process, with the models of this machine, as all the machines there are. */
import { listModels, modelName, type StoreOptions } from "../../weights/store/store.ts";
import { copyAt } from "../../weights/store/record.ts";
import type { Machines, Workers } from "../model/ports.ts";
import type { ModelReport } from "../model/service.ts";
import { findModelForJob } from "../machine/find_model.ts";

export function ownMachines(workers: Workers, models: StoreOptions): Machines {
  return {
    ...workers,
    async model(name) {
      const extractor = await findModelForJob(name, models);
      return { name: modelName(extractor), extractor };
    },
    models: () => reportModels(models),
  };
}

async function reportModels(models: StoreOptions): Promise<ModelReport[]> {
  const all = await listModels(models);
  const best = all.find(({ path, entry }) => path !== null && entry !== null)?.name;
  return await Promise.all(all.map(async ({ name, path, entry }) => ({
    name,
    present: path !== null,
    default: name === best,
    about: entry?.about ?? null,
    licence: entry?.licence ?? (path && (await copyAt(path).catch(() => null))?.licence) ?? null,
    megabytes: entry?.megabytes ?? null,
  })));
}
