/**
 * A backend that may not be there yet: a node starts, listens and answers 503 while its cluster is down, refuses it or is too old, and works from the moment on that it can be
 * opened. Invariant: what is wrong is said once, in one line, whenever it is another thing that is wrong.
 */
import { Fault, statusSchema } from "../model/job.ts";
import type { Backend, JobSource, Machines, OwnWorkers, WorkBackend } from "../model/ports.ts";
import { pause } from "../model/waiting.ts";

/** Between one try to open it and the next, in ms. */
const BETWEEN_TRIES = 3000;
const RETRY_AFTER = 5;

interface PatientOptions<T> {
  /** @throws Error of one line: what is wrong, and what to do */
  open(): Promise<T>;
  readonly stopping: AbortSignal;
  log(text: string): void;
}

/** A server's. Resolves at once. */
export function openPatiently(options: PatientOptions<Backend>): Backend {
  const { opened, now, unavailable } = tryOn(options);
  /** @throws Fault unavailable */
  // deno-lint-ignore require-await
  async function there(): Promise<Backend> {
    const backend = now();
    if (backend === null) throw unavailable();
    return backend;
  }
  /** Hears from the moment on that it is there. */
  function later(listen: (backend: Backend) => () => void): () => void {
    let ended = false;
    let end = () => {};
    void opened.then((backend) => {
      if (backend && !ended) end = listen(backend);
    });
    return () => {
      ended = true;
      end();
    };
  }

  return {
    store: {
      create: async (...values) => await (await there()).store.create(...values),
      find: async (...values) => await (await there()).store.find(...values),
      get: async (...values) => await (await there()).store.get(...values),
      list: async (...values) => await (await there()).store.list(...values),
      cancel: async (...values) => await (await there()).store.cancel(...values),
      remove: async (...values) => await (await there()).store.remove(...values),
      expired: async (limits) => await now()?.store.expired(limits) ?? [], // nothing is known that could be removed
      events: async (...values) => await (await there()).store.events(...values),
      sight: async (...values) => await (await there()).store.sight(...values),
      counts: () => now()?.store.counts() ?? NO_JOBS,
      onChange: (listener) => later(({ store }) => store.onChange(listener)),
      onCount: (listener) => later(({ store }) => store.onCount(listener)),
    },
    files: {
      adopt: async (...values) => await (await there()).files.adopt(...values),
      drop: async (...values) => await (await there()).files.drop(...values),
      open: async (...values) => await (await there()).files.open(...values),
      input: async (...values) => await (await there()).files.input(...values),
      use: async (...values) => await (await there()).files.use(...values),
      converted: async (...values) => await (await there()).files.converted(...values),
    },
    source: sourceOf(opened),
    outbox: {
      next: async (signal) => await (await unless(signal, opened))?.outbox.next(signal) ?? null,
      secret: async () => await (await there()).outbox.secret(),
    },
    openUpload: async () => await (await there()).openUpload(),
    join(own) {
      let machines: Machines | null = null;
      void opened.then((backend) => machines = backend && backend.join(own));
      return patientMachines(own, () => machines, unavailable);
    },
    async close() {
      await (await opened)?.close();
    },
  };
}

/** A GPU machine's. Resolves at once. */
export function openMachinePatiently(options: PatientOptions<WorkBackend>): WorkBackend {
  const { opened } = tryOn(options);
  return {
    source: sourceOf(opened),
    join: (own) => void opened.then((machine) => machine?.join(own)),
    async close() {
      await (await opened)?.close();
    },
  };
}

const sourceOf = (opened: Promise<Pick<Backend, "source"> | null>): JobSource => ({
  next: async (signal) => await (await unless(signal, opened))?.source.next(signal) ?? null,
});

/** Tries until it is there, or the process stops: then it is null. */
function tryOn<T>({ open, stopping, log }: PatientOptions<T>) {
  let found: T | null = null;
  let why = "it is being connected to";
  async function keepTrying(): Promise<T | null> {
    for (let failed = false; !stopping.aborted; failed = true) {
      try {
        found = await open();
        if (failed) log("The cluster can be used now");
        return found;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        if (reason !== why) log(`${reason}; trying again every ${BETWEEN_TRIES / 1000} s`);
        why = reason;
        await pause(BETWEEN_TRIES, stopping).catch(() => {});
      }
    }
    return null;
  }
  return {
    opened: keepTrying(),
    now: () => found,
    unavailable: () => new Fault("unavailable", `The jobs cannot be reached: ${why}`, { retryAfter: RETRY_AFTER }),
  };
}

const NO_JOBS = Object.fromEntries(statusSchema.options.map((status) => [status, 0])) as ReturnType<
  Backend["store"]["counts"]
>;

/** Until there are others: none that anybody could reach. */
function patientMachines(own: OwnWorkers, machines: () => Machines | null, unavailable: () => Fault): Machines {
  // deno-lint-ignore require-await
  const there = async () => {
    const found = machines();
    if (found === null) throw unavailable();
    return found;
  };
  return {
    workers: () => machines()?.workers() ?? own.workers(),
    ready: () => machines()?.ready() ?? 0,
    device: () => machines()?.device() ?? null,
    plannedBytes: () => machines()?.plannedBytes() ?? 0,
    largestPlan: () => machines()?.largestPlan() ?? 0,
    model: async (name) => await (await there()).model(name),
    models: async () => await (await there()).models(),
    call: async (task) => await (await there()).call(task),
  };
}

/** What `work` resolves to, or null once the signal is aborted. */
function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const stop = () => resolve(null);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
