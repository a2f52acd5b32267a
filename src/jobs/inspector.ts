/**
 * The inspector's side of the pipe: a process without a GPU that looks at strangers' pictures before a job is made of them, plans the job's memory, and writes results
 * in other formats. If a picture brings it down, nothing but that one request is lost.
 */
import { decodeImage, examineImage } from "../images/decode.ts";
import { encodeImage } from "../images/encode.ts";
import { fitted, planTraining, type StepCache } from "../splice/step_program.ts";
import { loadVit, modelName, MODELS } from "../weights/store.ts";
import type { VitDescription } from "../weights/names.ts";
import { asFault, faultOf } from "./blame.ts";
import { Fault, type FieldError } from "./job.ts";
import type { FromWorker, Task, ToWorker } from "./messages.ts";
import { writeWhole } from "./write_whole.ts";

/** WebP's own limit, in pixels a side. */
const WIDEST_WEBP = 16_383;

export interface InspectorOptions {
  readonly messages: AsyncIterable<ToWorker>;
  say(message: FromWorker): void;
  log(text: string): void;
}

/** Answers one call after the other until the pipe ends. */
export async function runInspector({ messages, say, log }: InspectorOptions): Promise<void> {
  const plans: Plans = { steps: new Map(), models: new Map() };
  say({ say: "ready", device: null });
  for await (const message of messages) {
    if (message.say === "stop") return;
    if (message.say !== "call") continue;
    try {
      await perform(message.task, plans, log);
      say({ say: "answer", call: message.call });
    } catch (error) {
      say({ say: "refuse", call: message.call, fault: faultOf(error, log) });
    }
  }
}

interface Plans {
  readonly steps: StepCache;
  /** By path: a file's sizes do not change while it is looked at again and again. */
  readonly models: Map<string, VitDescription>;
}

async function perform(task: Task, plans: Plans, log: (text: string) => void): Promise<void> {
  switch (task.task) {
    case "inspect":
      return await inspect(task, plans, log);
    case "convert": {
      const picture = await decodeImage(await Deno.readFile(task.from), { label: "the result", maxPixels: Infinity });
      const longest = Math.max(picture.width, picture.height);
      if (task.format === "webp" && longest > WIDEST_WEBP) {
        throw new Fault(
          "not_acceptable",
          `Cannot write the picture as WebP: it is ${longest} pixels long, and WebP ends at ${WIDEST_WEBP}; ask for image/png or image/jpeg`,
        );
      }
      return await writeWhole(task.to, await encodeImage(picture, task.format));
    }
    default:
      throw new Error(`Bug: the inspector was asked to ${task.task}`);
  }
}

async function inspect(
  { pictures, training }: Extract<Task, { task: "inspect" }>,
  plans: Plans,
  log: (text: string) => void,
): Promise<void> {
  const sizes: { width: number; height: number }[] = [];
  const errors: FieldError[] = [];
  let first: Fault | null = null;
  for (const { field, path } of pictures) {
    try {
      sizes.push(await examineImage(await Deno.readFile(path), { label: field }));
    } catch (error) {
      const fault = asFault(error, log);
      first ??= fault;
      errors.push({ field, message: fault.message });
    }
  }
  if (first) throw new Fault(first.code, errors.map(({ message }) => message).join("; "), { errors });
  if (!training?.device) return; // its memory is looked at when it is its turn
  const { recipe, device, freed } = training;
  const vit = await describe(training.model, plans);
  const [structure, appearance] = sizes.map((size) => recipe.size === undefined ? size : fitted(size, recipe.size));
  planTraining({
    recipe,
    vit,
    profile: device.profile,
    cache: plans.steps,
    structure,
    appearance,
    bindingBytes: device.bindingBytes,
    memoryLimit: device.software ? Deno.systemMemoryInfo().available + freed : undefined,
  });
}

/** A model's sizes: of a known one by its name alone, of others from the file. */
async function describe(path: string, { models }: Plans): Promise<VitDescription> {
  const key = `${path} ${(await Deno.stat(path)).mtime?.getTime()}`; // another may be imported under its name
  const known = models.get(key);
  if (known) return known;
  const entry = MODELS.find(({ name }) => name === modelName(path));
  const vit = entry
    ? {
      dim: entry.dim,
      depth: entry.depth,
      heads: entry.dim / 64,
      patch: entry.patch,
      native: entry.native,
      mlpRatio: 4,
    }
    : (await loadVit(path)).vit;
  models.set(key, vit);
  return vit;
}
