/**
 * The photograph that is being looked at, and how: what the place "Look" is about. Kept in the browser and noted in the address, so that a reload and a link lead to the
 * same. It asks for no pictures: see `look_session.ts`. Invariant: the inversion's idempotency key is renewed whenever what would be sent changes.
 */
import { batch, computed, signal } from "@preact/signals";
import { createJob, explain, request } from "../talk/api.ts";
import type { Job } from "../../jobs/model/job.ts";
import { source as transferSource } from "./draft.ts";
import { examples, loadExamples } from "./examples.ts";
import { type Instrument, middle, type Point, queryOf, type Setting, settingOf, within } from "./instruments.ts";
import { inputsOf, optionsOf } from "./job_kind.ts";
import { keep, keepAtOnce, recall, recallAtOnce } from "./keep.ts";
import { note, place } from "../location.ts";
import { newKey, openForm, spread, type Starting } from "./option_form.ts";
import { choiceOf, fieldsOf, type OptionSource } from "./option_list.ts";
import { type Credit, openPicture, type Picture, release, Unsuitable } from "./pictures.ts";

const inversionSource: OptionSource = JSON.parse(document.querySelector("#inversion-options")!.textContent!);

/** What the looks take: options that transfers and inversions have too, and the head. */
const lookSource: OptionSource = {
  schema: {
    properties: {
      model: transferSource.schema.properties.model,
      layer: inversionSource.schema.properties.layer,
      head: {
        type: "integer",
        minimum: 0,
        maximum: 255,
        description: "one head alone, from 0 (default: all of them side by side)",
      },
      ...Object.fromEntries(
        ["vit_side", "vit_longest", "resize"].map((name) => [name, transferSource.schema.properties[name]]),
      ),
    },
  },
  presets: {},
};

export const photograph = signal<Picture | null>(null);
export const photographFault = signal<string | undefined>(undefined);
export const instrument = signal<Instrument>("similarity");
export const point = signal<Point>(middle);
/** Attention over the photograph. */
export const overlay = signal(true);
export const starting = signal<Starting>("no");
/** False until what was kept has been read. */
export const lookReady = signal(false);

export const lookForm = openForm(lookSource, { id: "look", first: { preset: null, values: {} }, onChange: noted });
export const inversionForm = openForm(inversionSource, {
  id: "inversion",
  first: { preset: null, values: { feature: "keys" } },
  onChange() {
    keepAtOnce("inversion-choice", inversionForm.choice.value);
    renewKey();
  },
});
let key: string | null = null;
/** The example that the photograph is. */
const exampleFile = signal<string | null>(null);

export const setting = computed((): Setting => ({
  instrument: instrument.value,
  options: fieldsOf(lookForm.options, { choice: lookForm.choice.value, source: lookForm.source }),
  point: point.value,
  overlay: overlay.value,
  example: exampleFile.value,
}));

interface KeptPhotograph {
  readonly blob: Blob;
  readonly name: string;
  readonly credit: Credit | null;
  readonly example: string | null;
}

/** Keeps and notes what has changed. */
function noted(): void {
  const query = queryOf(setting.value);
  keep("look-query", query);
  if (place.value.view === "look") note({ view: "look", query });
}

function renewKey(): void {
  key = null;
  keep("inversion-key", null);
}

/** Takes what an address says; the bare address means what there was last. */
export async function arriveAtLook(query: string): Promise<void> {
  const bare = !new URLSearchParams(query).get("look");
  if (!lookReady.peek()) await restore();
  const wanted = bare ? await recall("look-query") : query;
  if (typeof wanted === "string") {
    const { options, example, ...said } = settingOf(wanted);
    // The photograph first: a new one is looked at in its middle.
    if (!bare && example !== null && example !== exampleFile.value) await openExample(example);
    batch(() => {
      instrument.value = said.instrument;
      point.value = said.point;
      overlay.value = said.overlay;
      if (said.instrument !== "invert") lookForm.setChoice({ preset: null, values: options });
    });
  }
  noted();
}

async function restore(): Promise<void> {
  const choice = recallAtOnce("inversion-choice");
  const [kept, keptKey] = await Promise.all(
    ["look-photograph", "inversion-key"].map((name) => recall(name)),
  );
  if (choice) inversionForm.choice.value = choice as typeof inversionForm.choice.value;
  if (typeof keptKey === "string") key = keptKey;
  const one = kept as KeptPhotograph | undefined;
  if (one && photograph.value === null) {
    photograph.value = await openPicture(one.blob, one).catch(() => null);
    exampleFile.value = one.example ?? null;
  }
  lookReady.value = true;
}

async function openExample(file: string): Promise<void> {
  await loadExamples();
  const one = examples.value.find((example) => example.file === file);
  if (one) await fetchPhotograph({ url: one.url, name: one.file, credit: one, example: one.file });
}

/** Takes a file; what is wrong with it is shown where it was given. */
export async function choosePhotograph(
  { blob, name, credit = null, example = null }: {
    blob: Blob;
    name: string;
    credit?: Credit | null;
    example?: string | null;
  },
): Promise<void> {
  try {
    setPhotograph(await openPicture(blob, { name, credit }), example);
  } catch (error) {
    if (!(error instanceof Unsuitable)) throw error;
    photographFault.value = error.message;
  }
}

export function setPhotograph(picture: Picture | null, example: string | null = null): void {
  release(photograph.value);
  photograph.value = picture;
  photographFault.value = undefined;
  exampleFile.value = example;
  point.value = middle;
  const kept = picture && { blob: picture.blob, name: picture.name, credit: picture.credit, example };
  keep("look-photograph", kept satisfies KeptPhotograph | null);
  renewKey();
  noted();
}

/** Fetches a picture from this server and takes it. */
export async function fetchPhotograph(
  { url, name, credit = null, example = null }: {
    url: string;
    name: string;
    credit?: Credit | null;
    example?: string | null;
  },
): Promise<void> {
  try {
    const response = await request(url);
    if (!response.ok) throw new Unsuitable("The server no longer has this picture. Choose another one.");
    await choosePhotograph({ blob: await response.blob(), name, credit, example });
  } catch (error) {
    photographFault.value = error instanceof Unsuitable ? error.message : explain(error).detail;
  }
}

export function setInstrument(next: Instrument): void {
  instrument.value = next;
  noted();
}

export function setPoint(next: Point): void {
  point.value = within(next);
  noted();
}

export function setOverlay(next: boolean): void {
  overlay.value = next;
  noted();
}

/** Prefills the inversion with what a job was made of. */
export async function prepareInversionAgain(job: Job): Promise<void> {
  inversionForm.setChoice(choiceOf(optionsOf(job), inversionForm));
  await Promise.all(inputsOf(job).map(({ url, title }) => fetchPhotograph({ url, name: title })));
}

/** Sends the inversion. Null if it cannot be sent as it is; the faults then say why. */
export async function startInversion(): Promise<Job | null> {
  const picture = photograph.value;
  const { choice, faults, options, source } = inversionForm;
  const { form: _, ...wrong } = faults.value;
  faults.value = wrong;
  if (!picture) photographFault.value = "Choose the photograph first.";
  if (!picture || Object.keys(wrong).length > 0) return null;
  if (key === null) await keep("inversion-key", key = newKey());
  starting.value = "sending";
  try {
    const job = await createJob({
      pictures: { image: picture.blob },
      fields: { kind: "invert", ...fieldsOf(options, { choice: choice.value, source }) },
      key,
      onRetry: () => starting.value = "retrying",
    });
    renewKey(); // starting the same once more is meant to make another job
    return job;
  } catch (error) {
    const { title, detail, errors } = explain(error);
    const known = ["image", ...options.map(({ name }) => name)];
    const { image, ...others } = spread(errors, { known, whole: `${title}. ${detail}` });
    faults.value = others;
    photographFault.value = image;
    return null;
  } finally {
    starting.value = "no";
  }
}
