/**
 * What the page knows of one job, and how each event changes it: a pure reduction, so that live events, a replay after a reload and a resync all lead to the same
 * view. It knows no network and no DOM. Invariant: the history's steps increase strictly, and every term has one value or null for each of them.
 */
import type { EventData, Job } from "../../jobs/model/job.ts";
import type { Followed } from "../talk/follow.ts";
import { optionOf } from "./job_kind.ts";

/** What the losses were, step by step: `terms.get(name)[i]` belongs to `steps[i]`, null where the term did not count. */
export interface History {
  readonly steps: readonly number[];
  readonly terms: ReadonlyMap<string, readonly (number | null)[]>;
}

/**
 * What a person sees: a status, finer. Warming up lasts from the start to the first finished step, while programs are compiled; finishing, from the last step until the
 * picture is there in its full size.
 */
export type Phase = "queued" | "warming" | "running" | "finishing" | "succeeded" | "failed" | "canceled";

export interface JobState {
  readonly job: Job;
  readonly history: History;
  /** Name of the device it runs on, null before the start. */
  readonly adapter: string | null;
  readonly model: string | null;
  /** The newest rendering, null before the first; of which step it is, where that is known. */
  readonly preview: { readonly step: number | null; readonly url: string } | null;
  /** Whether this attempt has finished a step. */
  readonly stepped: boolean;
}

/** Previews lie at one address for all steps; a browser would go on showing the first one it had. */
export function addressAt(url: string | null, step: number): string | null {
  return url === null ? null : `${url}${url.includes("?") ? "&" : "?"}step=${step}`;
}

const noHistory: History = { steps: [], terms: new Map() };

export function newJobState(job: Job): JobState {
  return {
    job,
    history: noHistory,
    adapter: null,
    model: optionOf(job, "model"),
    preview: previewOf(job),
    stepped: job.status === "running" && job.steps_per_second !== null,
  };
}

export function phaseOf(state: JobState): Phase {
  if (state.job.status !== "running") return state.job.status;
  if (!state.stepped) return "warming";
  return state.job.step === state.job.steps ? "finishing" : "running";
}

/** The state after the events, which come in their order. Names it does not know change nothing. */
export function reduce(state: JobState, events: readonly Followed[]): JobState {
  const draft = { ...state };
  let history: { steps: number[]; terms: Map<string, (number | null)[]> } | null = null;
  const ownHistory = () => (history ??= copyOf(state.history));

  for (const event of events) {
    const job = draft.job;
    switch (event.name) {
      case "queued": {
        const { position } = read<"queued">(event);
        draft.job = { ...job, status: "queued", position, steps_per_second: null, eta_seconds: null };
        draft.stepped = false;
        break;
      }
      case "started": {
        const { adapter, model, steps, step } = read<"started">(event);
        // An attempt begins at a checkpoint, and repeats the steps after it.
        forgetFrom(ownHistory(), step);
        draft.job = {
          ...job,
          status: "running",
          position: null,
          step,
          steps,
          steps_per_second: null,
          eta_seconds: null,
        };
        draft.adapter = adapter;
        draft.model = model;
        draft.stepped = false;
        break;
      }
      case "progress": {
        const pace = read<"progress">(event);
        append(ownHistory(), pace.step, pace.losses);
        draft.job = { ...job, status: "running", position: null, ...pace };
        draft.stepped = true;
        break;
      }
      case "preview": {
        const { step, url } = read<"preview">(event);
        draft.preview = { step, url: addressAt(url, step)! };
        draft.job = { ...job, urls: { ...job.urls, preview: url } };
        break;
      }
      case "succeeded": {
        const { result } = read<"succeeded">(event);
        draft.job = { ...ended(job, "succeeded"), step: job.steps, urls: { ...job.urls, result } };
        break;
      }
      case "failed":
        draft.job = { ...ended(job, "failed"), error: read<"failed">(event).error };
        break;
      case "canceled":
        draft.job = ended(job, "canceled");
        break;
      case "resync": {
        const now = read<"resync">(event).job;
        draft.job = now;
        draft.stepped = now.status === "running" && now.steps_per_second !== null;
        draft.preview = previewOf(now) ?? draft.preview;
        break;
      }
    }
  }
  return { ...draft, history: history ?? state.history };
}

function previewOf(job: Job): JobState["preview"] {
  const url = addressAt(job.urls.preview, job.step);
  return url === null ? null : { step: null, url };
}

function ended(job: Job, status: "succeeded" | "failed" | "canceled"): Job {
  return { ...job, status, position: null, steps_per_second: null, eta_seconds: null };
}

function read<N extends "queued" | "started" | "progress" | "preview" | "succeeded" | "failed" | "resync">(
  event: Followed,
): EventData<N> {
  return JSON.parse(event.data) as EventData<N>;
}

function copyOf(history: History): { steps: number[]; terms: Map<string, (number | null)[]> } {
  return {
    steps: [...history.steps],
    terms: new Map(Array.from(history.terms, ([name, values]) => [name, [...values]])),
  };
}

/** Drops what was after the first `step` steps. */
function forgetFrom(history: { steps: number[]; terms: Map<string, (number | null)[]> }, step: number): void {
  let kept = history.steps.length;
  while (kept > 0 && history.steps[kept - 1] > step) kept--;
  history.steps.length = kept;
  for (const values of history.terms.values()) values.length = kept;
}

function append(
  history: { steps: number[]; terms: Map<string, (number | null)[]> },
  step: number,
  losses: Readonly<Record<string, number>>,
): void {
  forgetFrom(history, step - 1);
  history.steps.push(step);
  for (const name of Object.keys(losses)) {
    if (!history.terms.has(name)) history.terms.set(name, Array(history.steps.length - 1).fill(null));
  }
  for (const [name, values] of history.terms) values.push(losses[name] ?? null);
}
