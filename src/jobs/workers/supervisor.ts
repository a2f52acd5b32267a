/**
 * Brings jobs to GPU workers: each has a post, which takes a job from the source, has its worker train it, and writes through the lease what the worker says. What a worker's
 * death means for its job the lease decides. Knows neither HTTP nor pictures, nor where jobs are kept.
 *
 * Invariant: a post holds at most one lease, and settles each it was given: by its end, by giving it back, or by letting go of what is somebody else's now.
 */
import { type CountedEvent, Fault } from "../model/job.ts";
import type { FromWorker } from "../model/messages.ts";
import type { JobSource, Lease, OwnWorkers } from "../model/ports.ts";
import { tend, type Tended } from "./tended.ts";
import { workOf } from "../model/work.ts";

/** Opening a device and compiling kernels at their first dispatch can take minutes, and nothing is heard meanwhile, in ms. */
const PATIENCE = 600_000;
/** Once steps are timed: this many of them, but at least this long, in ms. */
const PATIENT_STEPS = 20;
const LEAST_PATIENCE = 120_000;
/** How long a worker that is told to stop may take to finish its step and save, in ms. */
export const GRACE = 25_000;
/** How many calls a worker is given at a time: it answers them between two steps, which can take seconds. */
const CALLS_AT_ONCE = 8;
export interface SupervisorOptions {
  readonly source: JobSource;
  readonly command: { readonly command: string; readonly args: readonly string[] };
  /** How many GPU workers. */
  readonly workers: number;
  /** The model's file. @throws Fault */
  findModel(name: string | undefined): Promise<string>;
  onCount(event: CountedEvent): void;
  log(text: string): void;
}

export interface Supervisor extends OwnWorkers {
  /** Of the workers that run. */
  pids(): number[];
  /** Running jobs are saved and go back to the queue; those that do not answer within `grace` ms lose what is after their last checkpoint. */
  stop(grace: number): Promise<void>;
}

/** How a worker let go of a job. */
type Outcome =
  | { readonly how: "succeeded" | "canceled" | "stopped" | "died" | "left" }
  | { readonly how: "failed"; readonly fault: Fault };

/** A lease in the hands of a worker. */
interface Run {
  readonly lease: Lease;
  planned: number;
  /** Of the last step that was timed, in ms. */
  stepTime: number | null;
  /** The first that is said of its end counts. */
  end(outcome: Outcome): void;
  over: boolean;
}

interface Post {
  readonly worker: Tended;
  run: Run | null;
  /** Its process is about to end, and takes nothing more. */
  leaving: boolean;
  /** Aborted when its process dies: a job that is looked for is for one that lives. */
  seeking: AbortController;
  /** Its process has opened its device. */
  wake(): void;
}

export function openSupervisor(options: SupervisorOptions): Supervisor {
  const { source, log } = options;
  const settling = new Set<Promise<void>>();
  let stopping = false;
  let largestPlan = 0;
  const posts = Array.from({ length: options.workers }, (_, i) => openPost(`GPU worker ${i + 1}`));
  const manned = posts.map(man);

  function openPost(name: string): Post {
    const post: Post = {
      worker: tend({
        name,
        command: options.command,
        log,
        onMessage: (message) => hear(post, message),
        onDeath(_, { left }) {
          options.onCount({ what: "restart" });
          post.seeking.abort();
          post.run?.end({ how: left ? "left" : "died" });
        },
        callsAtOnce: CALLS_AT_ONCE,
        patience() {
          const { stepTime = null } = post.run ?? {};
          return stepTime === null ? PATIENCE : Math.max(LEAST_PATIENCE, PATIENT_STEPS * stepTime);
        },
      }),
      run: null,
      leaving: false,
      seeking: new AbortController(),
      wake: () => {},
    };
    return post;
  }

  /** One job after the other, until the end. */
  async function man(post: Post): Promise<void> {
    while (!stopping) {
      if (post.leaving || !post.worker.device()) {
        await new Promise<void>((resolve) => post.wake = resolve);
        continue;
      }
      post.seeking = new AbortController();
      const lease = await source.next(post.seeking.signal);
      if (lease) settle(post, lease, await work(post, lease));
    }
  }

  /** Resolves when the worker has let go of the job. */
  async function work(post: Post, lease: Lease): Promise<Outcome> {
    const { record: { job }, folder, ended } = lease;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const run: Run = {
      lease,
      planned: 0,
      stepTime: null,
      over: false,
      end(outcome) {
        run.over = true;
        resolve(outcome);
      },
    };
    post.run = run;
    if (stopping || !post.worker.device()) run.end({ how: "left" }); // between the search and its success
    const cancel = () => post.worker.send({ say: "cancel", job: job.id });
    try {
      const model = await options.findModel(job.options.model);
      if (!run.over) {
        post.worker.send({ say: "run", job: job.id, folder, work: workOf(job), model });
        ended.addEventListener("abort", cancel);
        if (ended.aborted) cancel();
      }
    } catch (error) {
      if (!(error instanceof Fault)) complain(`job ${job.id} could not be started`, error);
      const fault = error instanceof Fault ? error : new Fault("internal", "The server could not start this job");
      run.end({ how: "failed", fault });
    }
    const outcome = await promise;
    ended.removeEventListener("abort", cancel);
    post.run = null;
    return outcome;
  }

  /** The worker does not wait for it. */
  function settle(post: Post, lease: Lease, outcome: Outcome): void {
    if (outcome.how === "stopped") post.leaving = true;
    const work = settled(lease, outcome).catch((error) =>
      complain(`what became of job ${lease.record.job.id} is not noted`, error)
    );
    settling.add(work);
    void work.finally(() => settling.delete(work));
  }

  async function settled(lease: Lease, outcome: Outcome): Promise<void> {
    if (!lease.ended.aborted) await write(lease, outcome);
    if (lease.ended.aborted) await lease.letGo();
  }

  function write(lease: Lease, outcome: Outcome): Promise<void> {
    switch (outcome.how) {
      case "succeeded":
        return lease.succeed();
      case "failed":
        return lease.fail(outcome.fault.problem);
      case "died":
        return lease.giveBack({ died: true });
      case "canceled": // by nobody whom the lease knows
      case "stopped":
      case "left":
        return lease.giveBack({ died: false });
    }
  }

  function complain(what: string, error: unknown): void {
    log(`${what}: ${error instanceof Error ? error.stack : error}`);
  }

  function hear(post: Post, message: FromWorker): void {
    if (message.say === "ready") {
      post.leaving = false;
      return post.wake();
    }
    const { run } = post;
    if (!run || !("job" in message) || message.job !== run.lease.record.job.id) return;
    const { lease } = run;
    switch (message.say) {
      case "started": {
        const { say: _, job: __, memory_bytes, ...event } = message;
        run.planned = memory_bytes;
        largestPlan = Math.max(largestPlan, memory_bytes);
        return lease.started(event);
      }
      case "progress": {
        const { say: _, job: __, seconds, ...event } = message;
        if (seconds.length > 0) run.stepTime = 1000 * seconds.at(-1)!;
        return lease.progress(event, seconds);
      }
      case "preview":
        return lease.preview(message.step);
      case "saved":
        return lease.saved(message.step);
      case "failed": {
        const { code, detail, errors } = message.fault;
        return run.end({ how: "failed", fault: new Fault(code, detail, { errors }) });
      }
      case "succeeded":
      case "canceled":
      case "stopped":
        return run.end({ how: message.say });
    }
  }

  return {
    workers: () => posts.length,
    ready: () => posts.filter(({ worker }) => worker.device()).length,
    device: () => posts.map(({ worker }) => worker.device()).find((device) => device) ?? null,
    plannedBytes: () => posts.reduce((sum, { run }) => sum + (run?.planned ?? 0), 0),
    largestPlan: () => largestPlan,
    async call(task) {
      const ready = posts.filter(({ worker, leaving }) => worker.device() && !leaving);
      if (ready.length === 0) {
        throw new Fault("unavailable", "No GPU worker is ready yet; try again in a moment", { retryAfter: 5 });
      }
      const load = ({ worker, run }: Post) => 2 * worker.pending() + Number(run !== null);
      const idlest = ready.reduce((best, post) => load(post) < load(best) ? post : best);
      await idlest.worker.call("model" in task ? { ...task, model: await options.findModel(task.model) } : task);
    },
    jobs: () => posts.flatMap(({ run }) => run === null ? [] : [run.lease.record.job.id]),
    pids: () => posts.map(({ worker }) => worker.pid()).filter((pid) => pid !== null),
    async stop(grace) {
      stopping = true;
      for (const { seeking } of posts) seeking.abort();
      await Promise.all(posts.map(({ worker }) => worker.stop(grace)));
      for (const post of posts) {
        post.run?.end({ how: "left" });
        post.wake();
      }
      await Promise.all(manned);
      await Promise.all(settling);
    },
  };
}
