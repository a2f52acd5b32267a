/**
 * The job that is being looked at: its state, kept current as long as the page looks. One at a time; looking at another one ends the first. What events mean is in
 * `job_state.ts`, how they arrive in `follow.ts`.
 */
import { signal } from "@preact/signals";
import { announce } from "./announce.ts";
import { explain, getJob, Refused } from "../talk/api.ts";
import { type Connection, follow, type Followed } from "../talk/follow.ts";
import { jobEvents } from "../talk/tabs.ts";
import { ordinal } from "./format.ts";
import { gather } from "./gather.ts";
import { type JobState, newJobState, phaseOf, reduce } from "./job_state.ts";

export const session = signal<JobState | null>(null);
export const connection = signal<Connection>("trying");
/** Why there is nothing to show. */
export const absence = signal<{ readonly title: string; readonly detail: string } | null>(null);

const removed = { title: "There is no such job", detail: "It was removed, or is older than what this server keeps." };
let looking = new AbortController();

/** Looks at a job until `leave` or the next `look`. */
export async function look(id: string): Promise<void> {
  leave();
  const { signal } = looking;
  const url = `/v1/jobs/${encodeURIComponent(id)}`;
  let state: JobState | null = null;
  while (!state && !signal.aborted) {
    try {
      state = newJobState(await getJob(id));
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.problem.status < 500) {
        absence.value = error.problem.status === 404 ? removed : explain(error);
        return;
      }
      await wait(2000);
    }
  }
  if (!state || signal.aborted) return;
  session.value = state;

  let heard = "";
  let caughtUp = false;
  // What was replayed counts at once, when it has all come: nobody wants to see it happen again. Live events are drawn as they come.
  const events = gather<Followed>({ quiet: () => caughtUp ? 20 : 150, longest: 500 }, (events) => {
    caughtUp = true;
    if (signal.aborted) return;
    session.value = state = reduce(state!, events);
    const text = milestone(state);
    if (text !== heard) announce(heard = text);
  });
  await follow(url + "/events", {
    fetch: jobEvents(id),
    wait,
    signal,
    onEvents: events.add,
    onConnection: (now) => connection.value = now,
  });
  if (signal.aborted) return;
  events.flush();
  if (connection.value === "gone") {
    absence.value = removed;
    return;
  }
  // The times and addresses of an ended job, which its events do not all carry.
  const job = await getJob(id).catch(() => null);
  if (job && !signal.aborted) {
    session.value = reduce(state, [{ id: null, name: "resync", data: JSON.stringify({ job }) }]);
  }
}

/** Stops looking; the job itself goes on. */
export function leave(): void {
  looking.abort();
  looking = new AbortController();
  session.value = null;
  absence.value = null;
  connection.value = "trying";
}

/** What is worth an announcement: where it stands, in quarters. */
function milestone(state: JobState): string {
  const { job } = state;
  switch (phaseOf(state)) {
    case "queued":
      return job.position === null ? "Waiting in the queue." : `Waiting: ${ordinal(job.position)} in the queue.`;
    case "warming":
      return "Started; warming up.";
    case "running": {
      const quarter = Math.floor(job.step / job.steps * 4);
      return quarter === 0 ? "Training has begun." : `${quarter * 25} percent done.`;
    }
    case "finishing":
      return "All steps are done.";
    case "succeeded":
      return "Done. The result is ready.";
    case "failed":
      return `Failed. ${job.error?.detail ?? ""}`;
    case "canceled":
      return "Canceled.";
  }
}

/** Waits, but no longer than until the network or the person is back. */
function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    function done(): void {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", seen);
      resolve();
    }
    function seen(): void {
      if (document.visibilityState === "visible") done();
    }
    const timer = setTimeout(done, milliseconds);
    addEventListener("online", done);
    document.addEventListener("visibilitychange", seen);
  });
}
