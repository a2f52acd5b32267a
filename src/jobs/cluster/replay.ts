/**
 * The events of jobs, for those who read them: what happened lately is in memory, what is older is read from the log by several walkers at once, and held for the others who read the
 * same. Invariant: what is held of a job has no gap, from an event that somebody asked for up to the newest that this node has heard of.
 */
import type { StoredEvent } from "../model/job.ts";
import type { At, Log } from "./log.ts";
import { eventOf, type Snapshot } from "./snapshot.ts";
import { MESSAGES_KEPT } from "./streams.ts";

export interface Replay {
  /** Events of the job with ids above `after`, in order; `last` is its last message. @throws Fault unavailable */
  read(last: At, options: { readonly after: number; readonly limit: number }): Promise<StoredEvent[]>;
  /** A message that came, for jobs that somebody reads. */
  note(at: At): void;
}

/** Walkers over a part of a log: each read takes the way to the leader and back. */
const WALKERS = 8;
/** About so many events are read at a time. */
const PART = 1024;
/** So many events are held in a row, more than a log keeps, and of all jobs. */
const MOST_IN_A_ROW = MESSAGES_KEPT + 2000;
const MOST = 60_000;

/** Events of a job in a row. Readers who are far from each other have one each, until the one that is behind has caught up. */
interface Trail {
  /** Every event that is kept and has an id above this is held, up to `until`. */
  after: number;
  until: number;
  /** The last message that has been looked at. */
  seq: number;
  readonly events: StoredEvent[];
  /** What is being read; one thing at a time. */
  reading: Promise<unknown>;
}

export function openReplay(log: Log): Replay {
  /** Of each job; last used last. */
  const trails = new Map<string, Set<Trail>>();

  function add(trail: Trail, { seq, snap }: At): void {
    const event = eventOf(snap);
    const next = trail.until + Number(event !== null);
    if (snap.n !== next || seq <= trail.seq) return; // known already, or what comes before it is still being read
    trail.seq = seq;
    if (event === null) return;
    trail.until = event.id;
    trail.events.push(event);
    if (trail.events.length > MOST_IN_A_ROW) {
      trail.after = trail.events.splice(0, MOST_IN_A_ROW - MESSAGES_KEPT).at(-1)!.id;
    }
  }

  /** Looks for the first message that tells of more than `after`, between two sequences that are narrowed by halves. */
  async function find(last: At, after: number): Promise<Trail> {
    const { id, number } = last.snap;
    let [from, to] = [number, last.seq];
    let found = await log.next(from, id) ?? last;
    if (found.snap.n <= after) {
      from = found.seq + 1;
      while (from < to) {
        const middle = Math.floor((from + to) / 2);
        const at = await log.next(middle, id) ?? last;
        if (at.snap.n > after) to = middle;
        else from = at.seq + 1;
      }
      found = await log.next(from, id) ?? last;
    }
    // Older ones may be kept no longer.
    const until = Math.max(after, idBefore(found.snap));
    return { after, until, seq: found.seq - 1, events: [], reading: Promise.resolve() };
  }

  /** Reads on, about as far as PART events go. False where events between went that were too many. */
  async function extend(trail: Trail, last: At): Promise<boolean> {
    const { id, n } = last.snap;
    const missing = n - trail.until;
    if (missing <= 0) return true;
    const from = trail.seq + 1;
    const width = Math.ceil((last.seq - trail.seq) * Math.min(1, PART / missing));
    const walkers = Math.min(WALKERS, Math.ceil(missing / WALKERS));
    const stride = Math.ceil(width / walkers);
    const end = Math.min(from + walkers * stride - 1, last.seq);
    const parts = await Promise.all(Array.from({ length: walkers }, (_, i) => {
      const start = from + i * stride;
      return walk(id, start, Math.min(start + stride - 1, end));
    }));
    const found = parts.flat();
    for (const at of found) add(trail, at);
    if (found.some(({ snap }) => snap.n > trail.until)) return false;
    trail.seq = Math.max(trail.seq, end);
    return true;
  }

  async function walk(id: string, from: number, to: number): Promise<At[]> {
    const found: At[] = [];
    while (from <= to) {
      const at = await log.next(from, id);
      if (at === null || at.seq > to) break;
      found.push(at);
      from = at.seq + 1;
    }
    return found;
  }

  /** Where one has come to where another began, they go on as one. */
  function join(trail: Trail, id: string): void {
    const others = trails.get(id);
    for (const other of others ?? []) {
      if (other === trail || other.after < trail.after || other.after > trail.until) continue;
      others!.delete(other);
      if (other.until <= trail.until) continue;
      trail.events.push(...other.events.filter((event) => event.id > trail.until));
      trail.until = other.until;
      trail.seq = other.seq;
    }
  }

  /** Lets go of what has not been read for long. */
  function tidy(): void {
    let held = 0;
    for (const some of trails.values()) for (const { events } of some) held += events.length;
    for (const [id, some] of trails) {
      if (held <= MOST || trails.size === 1) return;
      for (const { events } of some) held -= events.length;
      trails.delete(id);
    }
  }

  async function trailAt(last: At, after: number): Promise<Trail> {
    const { id } = last.snap;
    const known = () => [...trails.get(id) ?? []].find((trail) => trail.after <= after && after <= trail.until);
    const trail = known() ?? await find(last, after);
    const joined = known() ?? trail; // another may have looked as well
    const some = trails.get(id) ?? new Set();
    trails.delete(id);
    trails.set(id, some.add(joined));
    return joined;
  }

  return {
    async read(last, { after, limit }) {
      const { id, n } = last.snap;
      if (after >= n) return [];
      const trail = await trailAt(last, after);
      const isThere = () => trail.events.length > 0 && trail.until >= Math.min(n, after + limit);
      while (!isThere()) {
        if (trail.until >= n) return []; // nothing but messages without an event is left
        const whole = trail.reading.then(() => isThere() || extend(trail, last));
        trail.reading = whole.catch(() => {});
        if (await whole) continue;
        // Whoever asks again begins after them.
        trails.get(id)?.delete(trail);
        return [];
      }
      join(trail, id);
      tidy();
      const start = Math.max(0, after - (trail.until - trail.events.length));
      return trail.events.slice(start, start + limit);
    },
    note(at) {
      for (const trail of trails.get(at.snap.id) ?? []) add(trail, at);
    },
  };
}

/** The newest event before a message. */
function idBefore({ n, name }: Snapshot): number {
  return name === null || name === "preview" ? n : n - 1;
}
