/**
 * Brings queued jobs to GPU workers, writes what the workers say into the store, and decides what a worker's death means for its job: it goes on from its last
 * checkpoint, but a job that brought down three workers fails and lets the next one through. Knows neither HTTP nor pictures.
 *
 * Invariant: a job that is running in the store is held by exactly one worker here, or by none while the server starts.
 */
import type { DataFiles } from "../local/files.ts";
import { type CountedEvent, Fault } from "../model/job.ts";
import type { Device, FromWorker, Task } from "../model/messages.ts";
import { poisonFault } from "../model/poison.ts";
import type { JobStore } from "../local/store.ts";
import { tend, type Tended } from "./tended.ts";
import { workOf } from "../model/work.ts";

/** Opening a device and compiling kernels at their first dispatch can take minutes, and nothing is heard meanwhile, in ms. */
const PATIENCE = 600_000;
/** Once steps are timed: this many of them, but at least this long, in ms. */
const PATIENT_STEPS = 20;
const LEAST_PATIENCE = 120_000;
/** How many calls a worker is given at a time: it answers them between two steps, which can take seconds. */
const CALLS_AT_ONCE = 8;
/** What the store could not take, over a full disk for one, it is offered again after this, in ms. */
const RETRY = 1000;

export interface SupervisorOptions {
  readonly store: JobStore;
  /** The files of a job. */
  readonly files: Pick<DataFiles, "jobFolder" | "sizeOf" | "dropCheckpoint">;
  readonly command: { readonly command: string; readonly args: readonly string[] };
  /** How many GPU workers. */
  readonly workers: number;
  /** The model's file. @throws Fault */
  findModel(name: string): Promise<string>;
  onCount(event: CountedEvent): void;
  log(text: string): void;
}

export interface Supervisor {
  /** There may be something to do: call it when a job was created. */
  assign(): void;
  /** Ends a running job (it must be one) after the step it is at. */
  cancel(id: string): void;
  isCanceling(id: string): boolean;
  /** Has a task done by the worker with the least to do. @throws Fault */
  call(task: Task): Promise<void>;
  /** Of the first worker that is ready. */
  device(): Device | null;
  ready(): number;
  /** Of the workers that run. */
  pids(): number[];
  /** Bytes planned for the jobs that run. */
  plannedBytes(): number;
  /** The most bytes that one job has planned. */
  largestPlan(): number;
  /** Running jobs are saved and go back to the queue; those that do not answer within `grace` ms lose what is after their last checkpoint. */
  stop(grace: number): Promise<void>;
}

interface Post {
  readonly worker: Tended;
  job: string | null;
  planned: number;
  /** Of the last step that was timed, in ms. */
  stepTime: number | null;
  /** Its process is about to end, and takes nothing more. */
  leaving: boolean;
}

export function openSupervisor(options: SupervisorOptions): Supervisor {
  const { store, log } = options;
  const canceling = new Set<string>();
  const settling = new Set<Promise<void>>();
  let stopping = false;
  let largestPlan = 0;
  let later: ReturnType<typeof setTimeout> | undefined;
  const posts: Post[] = Array.from({ length: options.workers }, (_, i) => openPost(`GPU worker ${i + 1}`));

  function openPost(name: string): Post {
    const post: Post = {
      worker: tend({
        name,
        command: options.command,
        log,
        onMessage: (message) => hear(post, message),
        onDeath: (_, { left }) => bury(post, left),
        callsAtOnce: CALLS_AT_ONCE,
        patience: () =>
          post.job === null || post.stepTime === null
            ? PATIENCE
            : Math.max(LEAST_PATIENCE, PATIENT_STEPS * post.stepTime),
      }),
      job: null,
      planned: 0,
      stepTime: null,
      leaving: false,
    };
    return post;
  }

  /** Does now, or as soon as the store takes it, what must not be lost. */
  function insist(id: string, write: () => void, again = false): void {
    try {
      write();
      if (again) assign();
    } catch (error) {
      if (stopping) return; // the next start finds the job as it was, and goes on from there
      if (!again) complain(`what became of job ${id} cannot be noted yet`, error);
      setTimeout(() => stopping || insist(id, write, true), RETRY);
    }
  }

  /** What `stop` waits for. */
  function settle(work: Promise<void>): void {
    settling.add(work);
    void work.finally(() => settling.delete(work));
  }

  function complain(what: string, error: unknown): void {
    log(`${what}: ${error instanceof Error ? error.stack : error}`);
  }

  function hear(post: Post, message: FromWorker): void {
    if (message.say === "ready") {
      post.leaving = false;
      return assign();
    }
    if (!("job" in message) || message.job !== post.job) return;
    const id = message.job;
    switch (message.say) {
      case "started": {
        const { say: _, job: __, memory_bytes, ...event } = message;
        post.planned = memory_bytes;
        largestPlan = Math.max(largestPlan, memory_bytes);
        return store.started(id, event);
      }
      case "progress": {
        const { say: _, job: __, seconds, ...event } = message;
        if (seconds.length > 0) post.stepTime = 1000 * seconds.at(-1)!;
        options.onCount({ what: "steps", seconds });
        return store.progress(id, event);
      }
      case "preview":
        return store.preview(id, message.step);
      case "succeeded":
        leave(post);
        settle(succeed(id));
        return assign();
      case "failed": {
        leave(post);
        const { code, detail, errors } = message.fault;
        end(id, "failed", () => store.fail(id, new Fault(code, detail, { errors }).problem));
        return assign();
      }
      case "canceled":
        leave(post);
        end(id, "canceled", () => store.cancel(id));
        return assign();
      case "stopped":
        leave(post);
        post.leaving = true;
        giveBack(id, { died: false });
        return assign();
    }
  }

  async function succeed(id: string): Promise<void> {
    const bytes = await options.files.sizeOf(id).catch(() => 0);
    if (canceling.has(id)) end(id, "canceled", () => store.cancel(id));
    else end(id, "succeeded", () => store.succeed(id, bytes));
  }

  function end(id: string, outcome: "succeeded" | "failed" | "canceled", write: () => void): void {
    insist(id, () => {
      write();
      canceling.delete(id);
      options.onCount({ what: "ended", outcome });
    });
    if (outcome === "succeeded") return;
    settle(options.files.dropCheckpoint(id).catch((error) => complain(`the checkpoint of job ${id} stays`, error)));
  }

  function leave(post: Post): void {
    post.job = null;
    post.planned = 0;
    post.stepTime = null;
  }

  /** A job that can go on elsewhere, unless its user has had enough of it. */
  function giveBack(id: string, how: { died: boolean }): void {
    insist(id, () => giveBackNow(id, how));
  }

  function giveBackNow(id: string, { died }: { died: boolean }): void {
    if (canceling.has(id)) return end(id, "canceled", () => store.cancel(id));
    const record = store.get(id);
    if (!record || record.job.status !== "running") return;
    const fault = died ? poisonFault({ deaths: record.deaths + 1, step: record.job.step }) : null;
    if (fault !== null) return end(id, "failed", () => store.fail(id, fault.problem));
    store.requeue(id, { died });
  }

  function bury(post: Post, left: boolean): void {
    options.onCount({ what: "restart" });
    const id = post.job;
    leave(post);
    if (id !== null) giveBack(id, { died: !left });
    assign();
  }

  function assign(): void {
    if (stopping) return;
    try {
      for (const post of posts) {
        if (post.job !== null || post.leaving || !post.worker.device()) continue;
        const record = store.claim();
        if (!record) break;
        post.job = record.job.id;
        void send(post, record.job.id);
      }
      later = undefined;
    } catch (error) {
      if (later === undefined) complain("no job can be started yet", error);
      clearTimeout(later);
      later = setTimeout(assign, RETRY);
    }
  }

  async function send(post: Post, id: string): Promise<void> {
    try {
      const work = workOf(store.get(id)!.job);
      const model = await options.findModel(work.options.model!);
      if (post.job !== id) return; // the worker died meanwhile
      post.worker.send({ say: "run", job: id, folder: options.files.jobFolder(id), work, model });
      if (canceling.has(id)) post.worker.send({ say: "cancel", job: id });
    } catch (error) {
      if (post.job !== id || stopping) return;
      leave(post);
      if (!(error instanceof Fault)) complain(`job ${id} could not be started`, error);
      const fault = error instanceof Fault ? error : new Fault("internal", "The server could not start this job");
      end(id, "failed", () => store.fail(id, fault.problem));
      assign();
    }
  }

  return {
    assign,
    cancel(id) {
      canceling.add(id);
      posts.find(({ job }) => job === id)?.worker.send({ say: "cancel", job: id });
    },
    isCanceling: (id) => canceling.has(id),
    async call(task) {
      const ready = posts.filter(({ worker, leaving }) => worker.device() && !leaving);
      if (ready.length === 0) {
        throw new Fault("unavailable", "No GPU worker is ready yet; try again in a moment", { retryAfter: 5 });
      }
      const load = ({ worker, job }: Post) => 2 * worker.pending() + Number(job !== null);
      const idlest = ready.reduce((best, post) => load(post) < load(best) ? post : best);
      await idlest.worker.call(task);
    },
    device: () => posts.map(({ worker }) => worker.device()).find((device) => device) ?? null,
    ready: () => posts.filter(({ worker }) => worker.device()).length,
    pids: () => posts.map(({ worker }) => worker.pid()).filter((pid) => pid !== null),
    largestPlan: () => largestPlan,
    plannedBytes: () => posts.reduce((sum, { planned }) => sum + planned, 0),
    async stop(grace) {
      stopping = true;
      clearTimeout(later);
      await Promise.all(posts.map(({ worker }) => worker.stop(grace)));
      await Promise.all(settling);
      for (const post of posts) if (post.job !== null) giveBack(post.job, { died: false });
    },
  };
}
