/**
 * What the server and its worker processes say to each other. Pictures and weights never travel here: both sides name files in the data folder. Messages are checked
 * on arrival, for the other side may be dying, or printing what a driver has to say.
 */
import { z } from "zod";
import { lookSchema } from "../../splice/instruments/look_options.ts";
import { applySchema } from "../../splice/transfer/apply_options.ts";
import { recipeSchema } from "../../splice/transfer/recipe.ts";
import { eventSchemas, type FaultCode, FAULTS, fieldErrorSchema } from "./job.ts";
import { workSchema } from "./work.ts";
import type { VitDescription } from "../../weights/formats/vit_family.ts";

const job = z.string();
const path = z.string();
const faultCode = z.enum(Object.keys(FAULTS) as [FaultCode, ...FaultCode[]]);

/** A Fault, as it crosses the pipe. */
export const faultSchema = z.strictObject({ code: faultCode, detail: z.string(), errors: z.array(fieldErrorSchema) });

/** What a GPU worker knows of its device: enough to plan memory elsewhere. */
export const deviceSchema = z.strictObject({
  adapter: z.string(),
  software: z.boolean(),
  profile: z.strictObject({
    name: z.enum(["subgroup8", "portable", "workgroup"]),
    maxStorageBuffers: z.number(),
    maxWorkgroupBytes: z.number(),
    maxInvocations: z.number(),
    maxBindingBytes: z.number(),
  }),
  bindingBytes: z.number(),
});
export type Device = z.infer<typeof deviceSchema>;

/** What `VitDescription` says, checked: what is known of a model that lies on another machine. */
export const vitSchema = z.strictObject({
  family: z.enum(["dino", "dinov2", "dinov3", "deit3"]),
  dim: z.number(),
  depth: z.number(),
  patch: z.number(),
  positions: z.enum(["dino", "dinov2", "antialias", "rotary"]),
  grid: z.number(),
  clsPosition: z.boolean(),
  registers: z.number(),
  hidden: z.number(),
  gated: z.boolean(),
  layerScale: z.boolean(),
  heads: z.number(),
  epsilon: z.number(),
  native: z.number(),
  mean: z.array(z.number()).readonly(),
  deviation: z.array(z.number()).readonly(),
}) satisfies z.ZodType<VitDescription>;

const imageFormatSchema = z.enum(["png", "jpeg", "webp"]);
export type ImageFormatName = z.infer<typeof imageFormatSchema>;

/** A question with one answer. `apply`, `features` and `look` are for a GPU worker, `inspect` and `convert` for the inspector. */
export const taskSchema = z.discriminatedUnion("task", [
  z.strictObject({
    task: z.literal("apply"),
    generator: path,
    picture: path,
    options: applySchema,
    out: path,
    format: imageFormatSchema,
  }),
  z.strictObject({
    task: z.literal("features"),
    model: path,
    picture: path,
    layers: z.array(z.number().int().min(0)),
    recipe: recipeSchema,
    out: path,
  }),
  z.strictObject({
    task: z.literal("look"),
    look: lookSchema,
    model: path,
    picture: path,
    out: path,
    format: imageFormatSchema,
  }),
  z.strictObject({
    task: z.literal("inspect"),
    pictures: z.array(z.strictObject({ field: z.string(), path })),
    /** Plans the training too, where the device is known. */
    training: z.strictObject({
      work: workSchema,
      model: z.strictObject({ name: z.string(), extractor: z.union([path, vitSchema]) }),
      device: deviceSchema.nullable(),
      freed: z.number().describe("bytes that running jobs hold and will give back"),
    }).nullable(),
  }),
  z.strictObject({
    task: z.literal("convert"),
    from: path,
    to: path,
    format: imageFormatSchema,
    of: z.enum(["result", "image"]),
  }),
]);
export type Task = z.infer<typeof taskSchema>;

export const toWorkerSchema = z.discriminatedUnion("say", [
  z.strictObject({ say: z.literal("run"), job, folder: path, work: workSchema, model: path }),
  z.strictObject({ say: z.literal("cancel"), job }),
  z.strictObject({ say: z.literal("call"), call: z.number().int(), task: taskSchema }),
  z.strictObject({ say: z.literal("stop") }).describe("save a checkpoint, then leave"),
]);
export type ToWorker = z.infer<typeof toWorkerSchema>;

export const fromWorkerSchema = z.discriminatedUnion("say", [
  z.strictObject({ say: z.literal("ready"), device: deviceSchema.nullable() }),
  z.strictObject({ say: z.literal("beat") }),
  z.strictObject({ say: z.literal("started"), job, memory_bytes: z.number(), ...eventSchemas.started.shape }),
  z.strictObject({
    say: z.literal("progress"),
    job,
    ...eventSchemas.progress.shape,
    seconds: z.array(z.number()).describe("wall time of each step since the last of these"),
  }),
  z.strictObject({ say: z.literal("preview"), job, step: z.number().int() }),
  z.strictObject({ say: z.literal("saved"), job, step: z.number().int() }).describe("a checkpoint of this step"),
  z.strictObject({ say: z.literal("succeeded"), job }),
  z.strictObject({ say: z.literal("failed"), job, fault: faultSchema }),
  z.strictObject({ say: z.literal("canceled"), job }),
  z.strictObject({ say: z.literal("stopped"), job }).describe("the job's checkpoint is saved; it can go on elsewhere"),
  z.strictObject({ say: z.literal("answer"), call: z.number().int() }),
  z.strictObject({ say: z.literal("refuse"), call: z.number().int(), fault: faultSchema }),
]);
export type FromWorker = z.infer<typeof fromWorkerSchema>;
