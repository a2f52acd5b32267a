/**
 * The inspector's side of the pipe: a process without a GPU that looks at strangers' pictures before a job is made of them, plans the job's memory, and writes results
 * in other formats. If a picture brings it down, nothing but that one request is lost.
 */
import { decodeImage, examineImage } from "../../images/decode.ts";
import { encodeImage } from "../../images/encode.ts";
import { releasePicture } from "../../images/picture.ts";
import { planInversion } from "../../splice/instruments/inversion_program.ts";
import { layerProblem } from "../../splice/instruments/look_options.ts";
import { openStepCache, type StepCache } from "../../splice/transfer/step_cache.ts";
import { fitted, planTraining } from "../../splice/transfer/step_program.ts";
import { describeEntry, MODELS } from "../../weights/store/manifest.ts";
import { loadVit, modelName } from "../../weights/store/store.ts";
import type { VitDescription } from "../../weights/formats/vit_family.ts";
import { asFault, faultOf, refuse } from "./blame.ts";
import { Fault, type FieldError } from "../model/job.ts";
import type { FromWorker, Task, ToWorker } from "../model/messages.ts";
import { refuseLongWebp } from "./webp.ts";
import { writeWhole } from "../machine/write_whole.ts";

export interface InspectorOptions {
  readonly messages: AsyncIterable<ToWorker>;
  say(message: FromWorker): void;
  log(text: string): void;
}

/** Answers one call after the other until the pipe ends. */
export async function runInspector({ messages, say, log }: InspectorOptions): Promise<void> {
  const plans: Plans = { steps: openStepCache(), models: new Map() };
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
      const ours = { label: "the result", maxPixels: Infinity };
      const picture = await decodeImage(
        await Deno.readFile(task.from),
        task.of === "result" ? ours : { label: "image" },
      );
      try {
        refuseLongWebp(picture, task.format);
        return await writeWhole(task.to, await encodeImage(picture, task.format));
      } finally {
        releasePicture(picture);
      }
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
  if (training) await plan(training, sizes, plans);
}

type Training = NonNullable<Extract<Task, { task: "inspect" }>["training"]>;

/** Whether the model and the device can do the work on pictures of these sizes. @throws Fault, EngineError */
async function plan(
  { work, model, device, freed }: Training,
  sizes: readonly { width: number; height: number }[],
  plans: Plans,
): Promise<void> {
  const { size } = work.options;
  const { name, extractor } = model;
  const vit = typeof extractor === "string" ? await describe(extractor, plans) : extractor;
  if (work.kind === "invert") refuse([layerProblem(work.options.layer, { model: name, depth: vit.depth })]);
  if (!device) return; // the memory is looked at when it is the job's turn
  const [first, second] = sizes.map((whole) => size === undefined ? whole : fitted(whole, size));
  const { profile, bindingBytes } = device;
  const memoryLimit = device.software ? Deno.systemMemoryInfo().available + freed : undefined;
  const common = { vit, profile, bindingBytes, memoryLimit, cache: plans.steps };
  if (work.kind === "invert") planInversion({ ...common, recipe: work.options, picture: first });
  else planTraining({ ...common, recipe: work.options, structure: first, appearance: second });
}

/** A model's sizes: of a known one by its name alone, of others from the file. */
async function describe(path: string, { models }: Plans): Promise<VitDescription> {
  const key = `${path} ${(await Deno.stat(path)).mtime?.getTime()}`; // another may be imported under its name
  const known = models.get(key);
  if (known) return known;
  const entry = MODELS.find(({ name }) => name === modelName(path));
  const vit = entry ? describeEntry(entry) : (await loadVit(path)).vit;
  models.set(key, vit);
  return vit;
}
