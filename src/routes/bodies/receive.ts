/**
 * Takes in a form with pictures: reads it part by part, writes the files where the service says, and refuses with everything that is wrong at once. Invariant: what it
 * throws has left nothing behind, and at most a fixed number of forms is being received at any time, which bounds memory.
 */
import { kindNames, kindOf, remedyFor, semblance } from "../../images/kinds.ts";
import { Fault, type FieldError } from "../../jobs/model/job.ts";
import type { JobService, Upload } from "../../jobs/model/service.ts";
import { type Part, type PartLimits, readParts } from "./multipart.ts";
import { invalid } from "./refusal.ts";

/** What a form may hold. */
export interface Form {
  /** The pictures that there may be. */
  readonly files: readonly string[];
  /** Those of them that there must be, and no other: by the plain fields; null where these do not tell. Default: all. */
  wanted?(fields: Readonly<Record<string, string>>): readonly string[] | null;
  /** What is wrong with the plain fields, known and unknown. */
  check(fields: Readonly<Record<string, string>>): readonly FieldError[];
}

export interface Received {
  /** Holds the pictures under their fields' names. Discarding it is up to the caller. */
  readonly upload: Upload;
  readonly fields: Readonly<Record<string, string>>;
}

/** `client`: whose upload it is, for nobody may take all the room. */
export type Receiver = (request: Request, form: Form, client: string) => Promise<Received>;

export interface ReceiveLimits {
  /** Forms at one time, and of one client. */
  readonly uploads: number;
  readonly uploadsOfClient: number;
  readonly pictureBytes: number;
  readonly idleMs: number;
  readonly totalMs: number;
}

const usual: ReceiveLimits = {
  uploads: 48,
  uploadsOfClient: 24,
  pictureBytes: 25e6,
  idleMs: 30_000,
  totalMs: 900_000,
};
const mostParts = 64;
const fieldBytes = 10_000;
/** For plain fields and the parts' headers. */
const slackBytes = 1e6;

/** @throws (the receiver) Fault, see `readParts`; invalid_options and unsupported_type name every field; unavailable if too many forms are arriving. */
export function openReceiver(
  service: JobService,
  options: { stopping: AbortSignal; limits?: Partial<ReceiveLimits> | undefined },
): Receiver {
  const limits = { ...usual, ...options.limits };
  let arriving = 0;
  const arrivingOf = new Map<string, number>();
  return async (request, form, client) => {
    if (options.stopping.aborted) {
      throw new Fault("unavailable", "Cannot take anything in: the server is stopping. Try again soon.", {
        retryAfter: 5,
      });
    }
    if (arriving >= limits.uploads) {
      const detail = `Cannot take the upload: ${limits.uploads} others are arriving. Try again in a few seconds.`;
      throw new Fault("unavailable", detail, { retryAfter: 3 });
    }
    const own = arrivingOf.get(client) ?? 0;
    if (own >= limits.uploadsOfClient) {
      const detail = `Cannot take the upload: ${own} others of yours are arriving. Try again when one of them has.`;
      throw new Fault("unavailable", detail, { retryAfter: 3 });
    }
    arriving++;
    arrivingOf.set(client, own + 1);
    let upload: Upload | null = null;
    const open = async () => upload ??= await service.openUpload();
    const partLimits = {
      partBytes: limits.pictureBytes,
      totalBytes: form.files.length * limits.pictureBytes + slackBytes,
      parts: mostParts,
      idleMs: limits.idleMs,
      totalMs: limits.totalMs,
      stopping: options.stopping,
    };
    try {
      const fields = await readForm(request, { form, limits: partLimits, open });
      return { upload: await open(), fields };
    } catch (error) {
      await (upload as Upload | null)?.discard();
      throw error;
    } finally {
      arriving--;
      const left = arrivingOf.get(client)! - 1;
      if (left > 0) arrivingOf.set(client, left);
      else arrivingOf.delete(client);
    }
  };
}

async function readForm(
  request: Request,
  { form, limits, open }: { form: Form; limits: PartLimits; open: () => Promise<Upload> },
): Promise<Record<string, string>> {
  const errors: FieldError[] = [];
  const strange: FieldError[] = [];
  const fields = new Map<string, string>();
  const files = new Set<string>();
  for await (const part of readParts(request, limits)) {
    const { name, bytes } = part;
    const twice = fields.has(name) || files.has(name);
    if (twice) errors.push({ field: name, message: `Cannot use ${shown(name)} twice: send it once` });
    else if (form.files.includes(name)) {
      files.add(name);
      if (kindOf(bytes) === null) strange.push({ field: name, message: whyNot(part) });
      else if (errors.length + strange.length === 0) await (await open()).write(name, bytes);
    } else if (part.filename !== null) files.add(name);
    else {
      const text = bytes.length <= fieldBytes ? utf8(bytes) : null;
      fields.set(name, text ?? "");
      const why = bytes.length > fieldBytes ? `it has more than ${fieldBytes} bytes` : "it is not UTF-8 text";
      if (text === null) errors.push({ field: name, message: `Cannot use ${shown(name)}: ${why}` });
    }
  }
  const given = Object.fromEntries(fields);
  const wanted = form.wanted === undefined ? form.files : form.wanted(given);
  const allowed = wanted ?? form.files;
  for (const name of files) {
    if (allowed.includes(name)) continue;
    const message = `Cannot use the file ${shown(name)}: ${listed(allowed)} ${
      allowed.length > 1 ? "are" : "is"
    } all that is taken`;
    errors.push({ field: name, message });
  }
  for (const name of wanted ?? []) {
    if (files.has(name)) continue;
    const message =
      `Cannot go on without ${name}: it must be a picture file: ${kindNames}. With curl: -F ${name}=@photo.jpg`;
    errors.push({ field: name, message });
  }
  errors.push(...form.check(given).filter(({ field }) => !errors.some((other) => other.field === field)));
  if (errors.length > 0) throw invalid([...errors, ...strange]);
  if (strange.length > 0) throw invalid(strange, "unsupported_type");
  return given;
}

function whyNot({ name, filename, bytes }: Part): string {
  const why = filename === null && bytes.length > 0 && bytes.length < 4096
    ? `it came as text; send the file itself. With curl: -F ${name}=@photo.jpg, with the @`
    : `it is ${semblance(bytes)}; ${remedyFor(bytes)}`;
  return `Cannot use ${name}: ${why}`;
}

function utf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

const shown = (name: string) => JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
const listed = (names: readonly string[]) => names.join(" and ");
