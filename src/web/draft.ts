/**
 * The transfer that is being prepared: two pictures and the chosen options. Kept in the browser, so that a reload loses nothing. Invariant: `key`, the idempotency key,
 * is renewed whenever what would be sent changes, and stays over reloads and retries as long as it does not.
 */
import { computed, signal } from "@preact/signals";
import { createJob, explain, getJson, type Model, request } from "./api.ts";
import type { FieldError, Job } from "../jobs/job.ts";
import { keep, recall } from "./keep.ts";
import { type Choice, choiceOf, complaint, describeOptions, fieldsOf, type OptionSource } from "./option_list.ts";
import { type Credit, openPicture, type Picture, release, Unsuitable } from "./pictures.ts";

export type Part = "structure" | "appearance";
export const parts: readonly Part[] = ["structure", "appearance"];

export const source: OptionSource = JSON.parse(document.querySelector("#options")!.textContent!);
export const options = describeOptions(source);

const firstChoice: Choice = { preset: "quick" in source.presets ? "quick" : null, values: {} };

export const pictures = { structure: signal<Picture | null>(null), appearance: signal<Picture | null>(null) };
export const choice = signal<Choice>(firstChoice);
/** What is wrong, by field name; `form` for what belongs to none. */
export const faults = signal<Readonly<Record<string, string>>>({});
export const starting = signal<"no" | "sending" | "retrying">("no");
/** False until the kept draft has been read. */
export const ready = signal(false);
let key: string | null = null;

interface KeptPicture {
  readonly blob: Blob;
  readonly name: string;
  readonly credit: Credit | null;
}

/** Reads what was kept. Pictures chosen meanwhile win. */
export async function restoreDraft(): Promise<void> {
  const [kept, keptKey, ...both] = await Promise.all([
    recall("choice"),
    recall("key"),
    ...parts.map((part) => recall(part)),
  ]);
  if (typeof keptKey === "string") key = keptKey;
  if (kept) {
    const { preset, values } = kept as Choice;
    choice.value = { preset: preset !== null && preset in source.presets ? preset : null, values };
  }
  await Promise.all(parts.map(async (part, at) => {
    const one = both[at] as KeptPicture | undefined;
    if (!one || pictures[part].value) return;
    const picture = await openPicture(one.blob, one).catch(() => null);
    if (picture && !pictures[part].value) pictures[part].value = picture;
    else release(picture);
  }));
  ready.value = true;
}

function changed(): void {
  key = null;
  keep("key", null);
}

function setFault(field: string, message: string | null): void {
  const { [field]: _, ...others } = faults.value;
  faults.value = message === null ? others : { ...others, [field]: message };
}

/** Both pictures are there. */
export const complete = computed(() => parts.every((part) => pictures[part].value !== null));

/** Takes a file for a part; what is wrong with it is shown there. */
export async function choosePicture(
  part: Part,
  { blob, name, credit = null }: { blob: Blob; name: string; credit?: Credit | null },
): Promise<void> {
  try {
    place(part, await openPicture(blob, { name, credit }));
  } catch (error) {
    if (!(error instanceof Unsuitable)) throw error;
    setFault(part, error.message);
  }
}

function place(part: Part, picture: Picture | null): void {
  if (pictures[part].value !== picture) release(pictures[part].value);
  pictures[part].value = picture;
  setFault(part, null);
  keepPicture(part);
  changed();
}

function keepPicture(part: Part): void {
  const picture = pictures[part].value;
  keep(part, picture && { blob: picture.blob, name: picture.name, credit: picture.credit } satisfies KeptPicture);
}

export const removePicture = (part: Part) => place(part, null);

export function swapPictures(): void {
  const { structure, appearance } = pictures;
  [structure.value, appearance.value] = [appearance.value, structure.value];
  faults.value = {};
  for (const part of parts) keepPicture(part);
  changed();
}

/** Fetches a picture from this server and takes it for a part. */
export async function fetchPicture(
  part: Part,
  { url, name, credit = null }: { url: string; name: string; credit?: Credit | null },
): Promise<void> {
  try {
    const response = await request(url);
    if (!response.ok) throw new Unsuitable("The server no longer has this picture. Choose another one.");
    await choosePicture(part, { blob: await response.blob(), name, credit });
  } catch (error) {
    setFault(part, error instanceof Unsuitable ? error.message : explain(error).detail);
  }
}

export function setChoice(next: Choice): void {
  choice.value = next;
  const wrong = Object.fromEntries(
    options.flatMap((option) => {
      const problem = complaint(option, next.values[option.name] ?? "");
      return problem === null ? [] : [[option.name, problem]];
    }),
  );
  const others = Object.fromEntries(parts.flatMap((part) => faults.value[part] ? [[part, faults.value[part]]] : []));
  faults.value = { ...others, ...wrong };
  keep("choice", next);
  changed();
}

/** Prefills everything with what a job was made of. */
export async function prepareAgain(job: Job): Promise<void> {
  setChoice(choiceOf(job.options, { options, source }));
  await Promise.all(parts.map((part) => fetchPicture(part, { url: job.urls[part], name: `${part} picture` })));
}

/** Sends the draft. Null if it cannot be sent as it is; `faults` then say why. */
export async function startJob(): Promise<Job | null> {
  const structure = pictures.structure.value;
  const appearance = pictures.appearance.value;
  if (!structure) setFault("structure", "Choose the picture whose shapes are to stay.");
  if (!appearance) setFault("appearance", "Choose the picture whose looks are to be taken.");
  setFault("form", null);
  if (!structure || !appearance || Object.keys(faults.value).length > 0) return null;
  if (key === null) {
    key = crypto.randomUUID?.() ??
      Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
    await keep("key", key);
  }
  starting.value = "sending";
  try {
    const fields = fieldsOf(options, { choice: choice.value, source });
    const job = await createJob({
      structure: structure.blob,
      appearance: appearance.blob,
      fields,
      key,
      onRetry: () => starting.value = "retrying",
    });
    changed(); // starting the same pair once more is meant to make another job
    return job;
  } catch (error) {
    const { title, detail, errors } = explain(error);
    faults.value = spread(errors, `${title}. ${detail}`);
    return null;
  } finally {
    starting.value = "no";
  }
}

/** Errors at the fields they name; what no field here shows goes to the form. */
function spread(errors: readonly FieldError[], whole: string): Record<string, string> {
  const known = new Set<string>([...parts, "preset", ...options.map((option) => option.name)]);
  const placed = Object.fromEntries(
    errors.filter((error) => known.has(error.field)).map((error) => [error.field, error.message]),
  );
  const all = errors.length > 0 && errors.every((error) => known.has(error.field));
  return all ? placed : { ...placed, form: whole };
}

export const models = signal<readonly Model[]>([]);

export async function loadModels(): Promise<void> {
  const body = await getJson<{ models: readonly Model[] }>("/v1/models").catch(() => null);
  if (body) models.value = body.models;
}
