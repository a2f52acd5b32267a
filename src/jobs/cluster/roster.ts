/**
 * All jobs as this node last heard of them, in memory: pages, counts, and places in the queue, which nobody could read from many logs one by one. Knows no server; `tail.ts` tells it
 * what happens, and whoever reads or writes a job himself may tell it sooner. Invariant: what is older than what is known changes nothing.
 */
import { type CountedEvent, type JobStatus, statusSchema } from "../model/job.ts";
import { openListeners } from "../model/listeners.ts";
import type { JobStore, ListOptions } from "../model/ports.ts";
import type { JobRecord } from "../model/record.ts";
import type { At } from "./log.ts";
import { isActive, recordOfSnapshot } from "./snapshot.ts";

export interface Roster extends Pick<JobStore, "counts" | "onChange" | "onCount"> {
  /** Takes in a message of a log. */
  note(at: At): void;
  /** Nothing is left of the job. */
  forget(id: string): void;
  /** Tells what is worth counting of a message; whoever calls takes care to do so once for each. */
  count(at: At): void;
  known(id: string): At | null;
  /** All of them, removed ones too, in the order of creation. */
  all(): readonly At[];
  /** The job with its place in the queue; null where it is removed. */
  record(at: At): JobRecord | null;
  list(options: ListOptions): JobRecord[];
  expired(options: { readonly endedBefore: Date; readonly mostBytes: number }): string[];
  /** Seconds until the first running job ends, null if none knows. */
  shortestWait(): number | null;
}

export function openRoster(complain: (message: string) => void): Roster {
  const jobs = new Map<string, At>();
  const changes = openListeners<string | null>("the job store", complain);
  const counted = openListeners<CountedEvent>("the job store", complain);
  /** Made when they are asked for, and anew when they may be others. */
  let ordered: readonly At[] | null = null;
  let places: ReadonlyMap<string, number> | null = null;

  const all = () => ordered ??= [...jobs.values()].sort((a, b) => a.snap.number - b.snap.number);
  const isQueued = (at: At | undefined) => at?.snap.status === "queued";

  function placeOf(id: string): number | null {
    places ??= new Map(all().filter(isQueued).map(({ snap }, index) => [snap.id, index + 1]));
    return places.get(id) ?? null;
  }

  /** `moves`: whether places in the queue are others now. */
  function changed(id: string, moves: boolean): void {
    ordered = null;
    if (moves) places = null;
    changes.tell(id);
    if (moves) changes.tell(null);
  }

  const record = (at: At): JobRecord | null => recordOfSnapshot(at.snap, placeOf(at.snap.id));
  const present = () => all().filter(({ snap }) => snap.status !== "removed");

  return {
    note(at) {
      const { id } = at.snap;
      const before = jobs.get(id);
      if (before !== undefined && before.seq >= at.seq) return;
      jobs.set(id, at);
      changed(id, isQueued(before) !== isQueued(at));
    },
    forget(id) {
      const before = jobs.get(id);
      if (jobs.delete(id)) changed(id, isQueued(before));
    },
    count({ snap: { name, seconds } }) {
      if (name === "progress") counted.tell({ what: "steps", seconds });
      if (name === "succeeded" || name === "failed" || name === "canceled") {
        counted.tell({ what: "ended", outcome: name });
      }
    },
    known: (id) => jobs.get(id) ?? null,
    all,
    record,
    list({ limit, before = Infinity, status }) {
      const found: JobRecord[] = [];
      const ats = all();
      for (let i = ats.length - 1; i >= 0 && found.length < limit; i--) {
        const { snap } = ats[i];
        if (snap.number >= before || snap.status === "removed" || status !== undefined && snap.status !== status) {
          continue;
        }
        found.push(record(ats[i])!);
      }
      return found;
    },
    expired({ endedBefore, mostBytes }) {
      const ids: string[] = [];
      const before = endedBefore.toISOString();
      let bytes = present().reduce((sum, { snap }) => sum + snap.bytes, 0);
      const ended = present().filter(({ snap }) => !isActive(snap))
        .map(({ snap: { id, bytes, number, finished_at } }) => ({ id, bytes, number, at: finished_at! }))
        .sort((a, b) => a.at < b.at ? -1 : a.at > b.at ? 1 : a.number - b.number);
      for (const job of ended) {
        if (job.at >= before && bytes <= mostBytes) break;
        bytes -= job.bytes;
        ids.push(job.id);
      }
      return ids;
    },
    counts() {
      const found = Object.fromEntries(statusSchema.options.map((status) => [status, 0])) as Record<JobStatus, number>;
      for (const { snap: { status } } of jobs.values()) if (status !== "removed") found[status]++;
      return found;
    },
    shortestWait() {
      let shortest: number | null = null;
      for (const { snap: { status, eta_seconds } } of jobs.values()) {
        if (status === "running" && eta_seconds !== null) shortest = Math.min(shortest ?? Infinity, eta_seconds);
      }
      return shortest;
    },
    onChange: changes.add,
    onCount: counted.add,
  };
}
