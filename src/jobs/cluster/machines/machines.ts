/** The GPU machines of a cluster as one: what they have together, and whom to ask. This process's own workers, where it has any, are asked first. */
import { MODELS } from "../../../weights/store/manifest.ts";
import { unknownModel } from "../../machine/find_model.ts";
import { Fault } from "../../model/job.ts";
import type { Device } from "../../model/messages.ts";
import type { Machines, OwnWorkers } from "../../model/ports.ts";
import { type Asking, nobodyReady } from "./asking.ts";
import type { Announcement, Roll } from "./roll.ts";

export function openMachines({ connected, roll, asking, own }: {
  /** Whether the cluster can be reached: what machines said before says nothing then. */
  connected(): boolean;
  readonly roll: Roll;
  readonly asking: Asking;
  readonly own: OwnWorkers;
}): Machines {
  let largestPlan = 0;

  /** The one that jobs are planned for. */
  function largest(): (Announcement & { readonly device: Device }) | null {
    const open = roll.present().flatMap((machine) =>
      machine.device === null ? [] : [{ ...machine, device: machine.device }]
    );
    return open.sort((a, b) => holds(b.device) - holds(a.device))[0] ?? null;
  }

  /** In the order in which models are preferred, those that no list knows behind. */
  function offered() {
    const models = roll.models();
    const known = MODELS.flatMap(({ name }) => models.get(name) ?? []);
    const others = [...models.values()].filter(({ name }) => !known.some((one) => one.name === name));
    return { known, others: others.sort((a, b) => a.name < b.name ? -1 : 1) };
  }

  const ready = () => connected() ? sum(roll.present(), (machine) => machine.ready) : 0;

  return {
    workers: () => sum(roll.present(), ({ workers }) => workers),
    ready,
    device: () => largest()?.device ?? null,
    plannedBytes: () => largest()?.plannedBytes ?? 0,
    largestPlan: () => largestPlan = Math.max(largestPlan, ...roll.present().map((machine) => machine.largestPlan)),
    async call(task) {
      if (own.ready() > 0) return await own.call(task);
      if (ready() === 0) throw nobodyReady(); // before pictures are sent for nothing
      await asking.ask(task);
    },
    // deno-lint-ignore require-await
    async model(name) {
      const { known, others } = offered();
      const all = [...known, ...others];
      if (all.length === 0) {
        const detail =
          "No GPU machine has joined yet, so that nobody knows which models there are; try again in a moment";
        throw new Fault("unavailable", detail, { retryAfter: 5 });
      }
      const found = name === undefined ? known[0] : all.find((model) => model.name === name);
      if (!found) throw unknownModel(name, all.map((model) => model.name));
      return { name: found.name, extractor: found.vit };
    },
    // deno-lint-ignore require-await
    async models() {
      const { known, others } = offered();
      const best = known[0]?.name;
      return [
        ...MODELS.map(({ name, about, licence, megabytes }) => ({
          name,
          present: known.some((model) => model.name === name),
          default: name === best,
          about,
          licence,
          megabytes,
        })),
        ...others.map(({ name, licence }) => ({
          name,
          present: true,
          default: false,
          about: null,
          licence,
          megabytes: null,
        })),
      ];
    },
  };
}

/** For comparison: GPUs before those that only compute as one. */
const holds = ({ software, bindingBytes }: Device) => bindingBytes * (software ? 1 : 2 ** 20);

function sum(machines: readonly Announcement[], of: (machine: Announcement) => number): number {
  return machines.reduce((all, machine) => all + of(machine), 0);
}
