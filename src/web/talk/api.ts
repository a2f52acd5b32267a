/**
 * Every request of the page. Adds the API key once one is known, asks for it when the server wants one, and turns refusals into `Refused` with the server's problem.
 * It holds no job: see `job_session.ts`. Invariant: nothing outside this page's own server is ever asked.
 */
import { signal } from "@preact/signals";
import type { FieldError, Job, Problem } from "../../jobs/model/job.ts";

/** The server answered, and said no. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly problem: Problem;
  /** Seconds after which it is worth trying again, where the server says so. */
  readonly retryAfter: number | null;

  constructor(problem: Problem, retryAfter: number | null) {
    super(problem.detail || problem.title);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

const keyName = "splice-api-key";

/** The API key that was given, null while none was needed. */
export const apiKey = signal<string | null>(readKey());

/** Set while a key is being asked for; `refused` when the last one was not accepted. */
export const keyRequest = signal<{ readonly refused: boolean; answer(key: string | null): void } | null>(null);
let asking: Promise<string | null> | null = null;

/** Whether the last request reached the server. */
export const reachable = signal(true);

function readKey(): string | null {
  try {
    return sessionStorage.getItem(keyName);
  } catch {
    return null; // storage is switched off: the key lasts as long as the page
  }
}

function rememberKey(key: string): void {
  apiKey.value = key;
  try {
    sessionStorage.setItem(keyName, key);
  } catch {
    // as above
  }
}

/** Asks once, however many requests are waiting for the answer. */
function askForKey(refused: boolean): Promise<string | null> {
  asking ??= new Promise<string | null>((resolve) => {
    keyRequest.value = { refused, answer: resolve };
  }).finally(() => {
    keyRequest.value = null;
    asking = null;
  });
  return asking;
}

/** As `fetch`, with the key, and with a question to the person on 401. @throws TypeError when nothing answers */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const used = apiKey.value;
    const headers = new Headers(init.headers);
    if (used !== null) headers.set("Authorization", `Bearer ${used}`);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers, credentials: "same-origin" });
      reachable.value = true;
    } catch (error) {
      if (!init.signal?.aborted) reachable.value = false;
      throw error;
    }
    if (response.status !== 401) return response;
    await response.body?.cancel();
    if (apiKey.value !== used) continue; // another request has asked meanwhile
    const key = await askForKey(used !== null);
    if (key === null) {
      throw new Refused({
        type: "/problems/unauthorized",
        title: "An API key is needed",
        status: 401,
        detail: "This server answers only with an API key.",
      }, null);
    }
    rememberKey(key);
  }
}

/** A request that has to succeed. @throws Refused, TypeError */
export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await request(path, init);
  if (response.ok) return response;
  throw new Refused(await problemOf(response), retryAfterOf(response));
}

async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text().catch(() => "");
  try {
    const body: Partial<Problem> = JSON.parse(text);
    if (typeof body.detail === "string" || typeof body.title === "string") {
      return { type: "about:blank", title: "The server refused", status: response.status, detail: "", ...body };
    }
  } catch {
    // not from this server's routes: a proxy, say
  }
  return {
    type: "about:blank",
    title: "The server refused",
    status: response.status,
    detail: `The server answered ${response.status} ${response.statusText}. Try again in a moment.`,
  };
}

function retryAfterOf(response: Response): number | null {
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  return Number.isFinite(seconds) ? seconds : null;
}

export async function getJson<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await call(path, { ...init, headers: { Accept: "application/json" } });
  return await response.json() as T;
}

export const getJob = (id: string) => getJson<Job>(`/v1/jobs/${encodeURIComponent(id)}`);

export interface JobPage {
  readonly jobs: readonly Job[];
  readonly next: string | null;
}

export function getJobs(limit: number, before: string | null): Promise<JobPage> {
  const query = new URLSearchParams({ limit: String(limit), ...(before !== null && { before }) });
  return getJson<JobPage>(`/v1/jobs?${query}`);
}

/** Cancels an active job, removes an ended one. */
export async function deleteJob(id: string): Promise<void> {
  const response = await call(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
  await response.body?.cancel();
}

export interface Model {
  readonly name: string;
  readonly present: boolean;
  readonly default: boolean;
}

export interface NewJob {
  /** By the name of their field. */
  readonly pictures: Readonly<Record<string, Blob>>;
  readonly fields: Readonly<Record<string, string>>;
  /** The same for every try at the same job: the server then makes one. */
  readonly key: string;
  /** Called before each further try. */
  readonly onRetry: () => void;
}

/** Creates a job, trying again when the network fails. @throws Refused, and TypeError after five tries */
export async function createJob(job: NewJob): Promise<Job> {
  for (let tries = 1;; tries++) {
    const body = new FormData();
    for (const [name, value] of Object.entries(job.fields)) body.append(name, value);
    for (const [name, picture] of Object.entries(job.pictures)) body.append(name, picture, name);
    try {
      const response = await call("/v1/jobs", {
        method: "POST",
        body,
        headers: { "Idempotency-Key": job.key, Accept: "application/json" },
      });
      return await response.json() as Job;
    } catch (error) {
      if (error instanceof Refused || tries === 5) throw error;
      job.onRetry();
      await new Promise((resolve) => setTimeout(resolve, 1000 * 2 ** (tries - 1)));
    }
  }
}

/** What to tell a person about any error of this module. */
export function explain(
  error: unknown,
): { readonly title: string; readonly detail: string; readonly errors: readonly FieldError[] } {
  if (error instanceof Refused) {
    const { title, detail, errors } = error.problem;
    const wait = error.retryAfter === null ? "" : ` Try again in ${error.retryAfter} s.`;
    return { title, detail: detail.includes("again") ? detail : detail + wait, errors: errors ?? [] };
  }
  // Of a mistake in the page, too, browsers say TypeError.
  if (error instanceof TypeError && (!reachable.value || /fetch|network|load/i.test(error.message))) {
    return {
      title: "The server does not answer",
      detail: "Check the network, and that the server is running; then try again.",
      errors: [],
    };
  }
  return {
    title: "Something went wrong in this page",
    detail: error instanceof Error ? error.message : String(error),
    errors: [],
  };
}
