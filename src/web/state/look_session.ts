/**
 * Asks the server for what the place "Look" shows, and keeps the newest answer of each instrument. Invariant: however quickly the questions follow each other, what is shown
 * is the answer to the last one; those before it are dropped.
 */
import { computed, effect, signal } from "@preact/signals";
import { announce } from "./announce.ts";
import { call, explain } from "../talk/api.ts";
import { type Format, save } from "../talk/download.ts";
import { fieldsOfLook, type Instrument, instrumentWords, type Look, pointWords } from "./instruments.ts";
import { openLatest } from "../talk/latest.ts";
import { lookForm, photograph, photographFault, setting } from "./look_draft.ts";
import { complaintsOf, spread } from "./option_form.ts";

/** An answer. */
export interface Seen {
  /** What it answers. */
  readonly question: string;
  /** An object URL. */
  readonly url: string;
  /** Width by height. */
  readonly aspect: number;
}

export const seen = signal<Readonly<Partial<Record<Instrument, Seen>>>>({});
export const looking = signal(false);
const latest = openLatest();
/** Milliseconds after which a question is asked: less than a person waits, more than a key takes to repeat. */
const PAUSE = 120;

/** What is asked now, as text; null while there is nothing to ask. */
export const question = computed((): string | null => {
  const now = setting.value;
  if (now.instrument === "invert" || !photograph.value) return null;
  if (Object.keys(complaintsOf(lookForm.options, lookForm.choice.value)).length > 0) return null;
  return JSON.stringify([photograph.value.url, now.instrument, fieldsOfLook(now.instrument, now)]);
});

/** Asks whenever the question changes, until the returned function is called. */
export function watchLooks(): () => void {
  const end = effect(() => {
    const asked = question.value;
    if (asked === null) latest(() => Promise.resolve()).then(() => looking.value = false);
    else ask(asked);
  });
  return () => {
    end();
    latest(() => Promise.resolve());
    for (const one of Object.values(seen.peek())) URL.revokeObjectURL(one.url);
    seen.value = {};
    looking.value = false;
  };
}

export async function ask(asked: string): Promise<void> {
  const now = setting.peek();
  const look = now.instrument as Look;
  if (seen.peek()[look]?.question === asked) {
    await latest(() => Promise.resolve());
    looking.value = false;
    return;
  }
  looking.value = true;
  try {
    const done = await latest(async (signal): Promise<Seen> => {
      await pause(signal);
      const blob = await fetchLook("image/jpeg", signal);
      const url = URL.createObjectURL(blob);
      const image = new Image();
      image.src = url;
      await image.decode();
      if (signal.aborted) URL.revokeObjectURL(url);
      return { question: asked, url, aspect: image.naturalWidth / image.naturalHeight };
    });
    if (!done) return;
    const before = seen.peek()[look];
    if (before) setTimeout(URL.revokeObjectURL, 10_000, before.url); // the next one takes its place first
    seen.value = { ...seen.peek(), [look]: done.value };
    looking.value = false;
    announce(
      look === "similarity"
        ? `What resembles the patch ${pointWords(now.point)} is shown.`
        : `${instrumentWords[look].title} is shown.`,
    );
  } catch (error) {
    looking.value = false;
    const { title, detail, errors } = explain(error);
    const known = ["image", ...lookForm.options.map(({ name }) => name)];
    const { image, ...others } = spread(errors, { known, whole: `${title}. ${detail}` });
    lookForm.faults.value = others;
    photographFault.value = image;
  }
}

async function fetchLook(accept: string, signal?: AbortSignal): Promise<Blob> {
  const now = setting.peek();
  const look = now.instrument as Look;
  const body = new FormData();
  for (const [name, value] of Object.entries(fieldsOfLook(look, now))) body.append(name, value);
  body.append("image", photograph.peek()!.blob, "image");
  const init: RequestInit = { method: "POST", body, headers: { Accept: accept } };
  const response = await call(`/v1/${look}`, signal ? { ...init, signal } : init);
  return await response.blob();
}

/** Saves what is seen as a file, in any format. @throws Refused, TypeError */
export async function downloadLook({ type, extension }: Format): Promise<void> {
  const name = photograph.peek()!.name.replace(/\.\w+$/, "");
  const look = setting.peek().instrument;
  save(await fetchLook(type), `${name}-${look === "pca" ? "parts" : look}.${extension}`);
}

/** @throws DOMException AbortError */
function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    setTimeout(() => signal.aborted ? reject(signal.reason) : resolve(), PAUSE);
  });
}
