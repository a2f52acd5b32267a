/**
 * What the server has its processes do with a picture at once, outside of any job: look whether it is good, write it in another format, render it, look at what the
 * extractor sees in it. Invariant: no GPU worker meets a picture that the inspector has not found good.
 */
import { join } from "node:path";
import { type LookName, parseLook } from "../../splice/instruments/look_options.ts";
import { parseApply } from "../../splice/transfer/apply_options.ts";
import type { CallOptions } from "./calls.ts";
import { readFeatureFields } from "../model/feature_fields.ts";
import { Fault, type FieldError } from "../model/job.ts";
import type { ImageFormatName, Task } from "../model/messages.ts";
import type { Machines } from "../model/ports.ts";
import type { Served, Upload } from "../model/service.ts";
import { serveFile } from "../machine/serve_file.ts";
import type { Tended } from "./tended.ts";

export interface PictureCallsOptions {
  readonly inspector: Pick<Tended, "call">;
  readonly machines: Pick<Machines, "model" | "call">;
}

export interface PictureCalls {
  /** Has the inspector look at pictures. @throws Fault */
  inspect(task: Extract<Task, { task: "inspect" }>): Promise<void>;
  /** Writes a picture in another format, once for all who ask at the same time. */
  convert(
    from: string,
    to: string,
    options: { readonly format: ImageFormatName; readonly of: "result" | "image" },
  ): Promise<void>;
  /** Writes the upload's file `image` as it is read: upright, in sRGB, on white. */
  show(upload: Upload, format: ImageFormatName): Promise<Served>;
  /** Renders the upload's file `image` with this generator. */
  apply(generator: string, upload: Upload, options: {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly format: ImageFormatName;
  }): Promise<Served>;
  features(upload: Upload, fields: Readonly<Record<string, unknown>>): Promise<Served>;
  look(
    name: LookName,
    upload: Upload,
    options: { readonly fields: Readonly<Record<string, unknown>>; readonly format: ImageFormatName },
  ): Promise<Served>;
}

export const SUFFIX: Readonly<Record<ImageFormatName, string>> = { png: "png", jpeg: "jpg", webp: "webp" };
/** No picture within the limits takes this long to look at or to write, in ms. */
const INSPECTION = 120_000;

type Inspection = Extract<Task, { task: "inspect" }>;

/** What brings down two of the inspector's processes, or holds one up for ever, is taken for damaged. */
function blaming(fields: readonly string[]) {
  return {
    limit: INSPECTION,
    blame(why: string) {
      const named = fields.join(" and ");
      const message = `Cannot use ${named}: ${why}; save the picture anew with another program, or smaller`;
      return new Fault("damaged", message, { errors: fields.map((field) => ({ field, message })) });
    },
  } satisfies CallOptions;
}

export function openPictureCalls({ inspector, machines }: PictureCallsOptions): PictureCalls {
  const conversions = new Map<string, Promise<void>>();

  /** A process that dies over several pictures does not say over which: each is then looked at alone, so that nobody is blamed for another's. */
  async function inspect(task: Inspection): Promise<void> {
    const fields = task.pictures.map(({ field }) => field);
    if (fields.length < 2) return await inspector.call(task, blaming(fields));
    let died = false;
    const { limit, blame } = blaming(fields);
    try {
      await inspector.call(task, {
        limit,
        lives: 1,
        blame(why) {
          died = true;
          return blame(why);
        },
      });
    } catch (error) {
      if (!died) throw error;
      for (const picture of task.pictures) {
        await inspector.call({ ...task, pictures: [picture], training: null }, blaming([picture.field]));
      }
      await inspector.call(task, blaming(fields)); // none of them by itself
    }
  }

  /** Has a GPU worker do a task on the upload's picture, once that has been found good. */
  async function onPicture({ folder }: Upload, make: (picture: string) => Task): Promise<void> {
    const picture = join(folder, "image");
    await inspect({ task: "inspect", pictures: [{ field: "image", path: picture }], training: null });
    await machines.call(make(picture));
  }

  return {
    inspect,
    async convert(from, to, options) {
      const running = conversions.get(to) ??
        inspector.call({ task: "convert", from, to, ...options }, { limit: INSPECTION }).finally(() =>
          conversions.delete(to)
        );
      conversions.set(to, running);
      await running;
    },
    async show({ folder }, format) {
      const to = join(folder, `shown.${SUFFIX[format]}`);
      await inspector.call(
        { task: "convert", from: join(folder, "image"), to, format, of: "image" },
        blaming(["image"]),
      );
      return await serveFile(to, `image/${format}`);
    },
    async apply(generator, upload, { fields, format }) {
      const options = readOptions(parseApply(fields));
      const out = join(upload.folder, `result.${SUFFIX[format]}`);
      await onPicture(upload, (picture) => ({ task: "apply", generator, picture, options, out, format }));
      return await serveFile(out, `image/${format}`);
    },
    async features(upload, fields) {
      const { recipe, layers } = readFeatureFields(fields);
      const { name: model } = await machines.model(recipe.model);
      const out = join(upload.folder, "features.safetensors");
      await onPicture(upload, (picture) => ({ task: "features", model, picture, layers, recipe, out }));
      return await serveFile(out, "application/octet-stream");
    },
    async look(name, upload, { fields, format }) {
      const look = readLook(name, fields);
      const { name: model } = await machines.model(look.options.model);
      const out = join(upload.folder, `look.${SUFFIX[format]}`);
      await onPicture(upload, (picture) => ({ task: "look", look, model, picture, out, format }));
      return await serveFile(out, `image/${format}`);
    },
  };
}

/** A look and its options. @throws Fault invalid_options, with all that is wrong */
function readLook(name: LookName, fields: Readonly<Record<string, unknown>>) {
  const parsed = parseLook(name, fields);
  return readOptions(parsed.ok ? { ok: true, options: parsed.look } : parsed);
}

/** @throws Fault invalid_options, with all that is wrong */
function readOptions<Options>(
  parsed: { ok: true; options: Options } | { ok: false; errors: readonly FieldError[] },
): Options {
  if (parsed.ok) return parsed.options;
  const detail = parsed.errors.map(({ message }) => message).join("; ");
  throw new Fault("invalid_options", detail, { errors: parsed.errors });
}
