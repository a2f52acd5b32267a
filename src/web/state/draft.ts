/**
 * The transfer that is being prepared: two pictures and the chosen options. Kept in the browser, so that a reload loses nothing. Invariant: `key`, the idempotency key,
 * is renewed whenever what would be sent changes, and stays over reloads and retries as long as it does not.
 */
import { computed, signal } from "@preact/signals";
import { createJob, explain, getJson, type Model, request } from "../talk/api.ts";
import type { Job } from "../../jobs/model/job.ts";
import { inputsOf, optionsOf } from "./job_kind.ts";
import { keep, keepAtOnce, recall, recallAtOnce } from "./keep.ts";
import { complaintsOf, newKey, type OptionForm, spread, type Starting } from "./option_form.ts";
import { type Choice, choiceOf, describeOptions, fieldsOf, type OptionSource } from "./option_list.ts";
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
export const starting = signal<Starting>("no");
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
  const kept = recallAtOnce("choice");
  const [keptKey, ...both] = await Promise.all([
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
  const others = Object.fromEntries(parts.flatMap((part) => faults.value[part] ? [[part, faults.value[part]]] : []));
  faults.value = { ...others, ...complaintsOf(options, next) };
  keepAtOnce("choice", next);
  changed();
}

/** Prefills everything with what a job was made of. */
export async function prepareAgain(job: Job): Promise<void> {
  setChoice(choiceOf(optionsOf(job), { options, source }));
  await Promise.all(
    inputsOf(job).map(async ({ name, url }) => {
      if (name !== "image") await fetchPicture(name, { url, name: `${name} picture` });
    }),
  );
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
    key = newKey();
    await keep("key", key);
  }
  starting.value = "sending";
  try {
    const fields = fieldsOf(options, { choice: choice.value, source });
    const job = await createJob({
      pictures: { structure: structure.blob, appearance: appearance.blob },
      fields,
      key,
      onRetry: () => starting.value = "retrying",
    });
    changed(); // starting the same pair once more is meant to make another job
    return job;
  } catch (error) {
    const { title, detail, errors } = explain(error);
    const known = [...parts, "preset", ...options.map((option) => option.name)];
    faults.value = spread(errors, { known, whole: `${title}. ${detail}` });
    return null;
  } finally {
    starting.value = "no";
  }
}

/** The options of the draft, for their fields. */
export const form: OptionForm = { id: "option", source, options, choice, faults, setChoice };

export const models = signal<readonly Model[]>([]);

export async function loadModels(): Promise<void> {
  const body = await getJson<{ models: readonly Model[] }>("/v1/models").catch(() => null);
  if (body) models.value = body.models;
}
