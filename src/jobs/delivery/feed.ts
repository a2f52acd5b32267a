/**
 * One reader's way through a job's events. A feed holds a position, never a queue: what a slow reader has not asked for stays in the store, so that it costs the
 * server nothing and delays nobody. Previews are the newest or none, and so are places in the queue after the first.
 */
import { setImmediate } from "node:timers";
import { type EventData, type EventName, Fault, isFinal, type StoredEvent } from "../model/job.ts";
import type { JobStore } from "../model/ports.ts";
import { jobAddress } from "../model/record.ts";
import type { Feed, FeedEvent } from "../model/service.ts";

export interface Feeds {
  /**
   * The job's events after `after`. Where those are no longer kept, or `after` is none of the job's, a `resync` comes first. @throws Fault unknown_job
   */
  open(id: string, after: number): Promise<Feed>;
  /** The server stops: every feed ends, now and from now on, though its job goes on. */
  interrupt(): void;
}

/** So many events are read from the store at a time, and held for a reader. */
const BATCH = 64;
/** So many readers are woken at a time; those who have nothing to do with this job have their turn in between. */
const SLICE = 25;
/** So many positions of readers are remembered with what comes after them: most are at the same one. */
const MOST_POSITIONS = 8;
/** So many jobs are remembered as they are. */
const MOST_SIGHTS = 64;
/** Where the store cannot be read, it is asked again after this, in ms. */
const RETRY = 1000;
/** The longest that a timer can wait, in ms. */
const LONGEST = 2 ** 31 - 1;

/** How far a reader has come. */
interface Reader {
  readonly id: string;
  /** The last event it was given. */
  cursor: number;
  /** The step of the last preview it was given. */
  previewStep: number | null;
  /** The place in the queue that it was last given of a job that waits. */
  position: number | null;
  /** Its job waited when it last looked. */
  queued: boolean;
  /** It was given the job's last event, or the job is gone. */
  ended: boolean;
  closed: boolean;
  /** Something has happened since it last looked. */
  stale: boolean;
  /** Ends its sleep; null while it is awake. */
  wake: (() => void) | null;
}

/** A job as it is until something happens to it: read once for all its readers. */
interface Sight {
  readonly seen: Promise<Seen>;
  readonly eventsAfter: Map<number, Promise<readonly StoredEvent[]>>;
}
type Seen = Awaited<ReturnType<JobStore["sight"]>>;

/** All feeds of a process: one listener at the store, however many readers there are. */
export function openFeeds(store: Pick<JobStore, "sight" | "events" | "onChange">): Feeds {
  const readersOf = new Map<string, Set<Reader>>();
  const sights = new Map<string, Sight>();
  const waking = new Set<Reader>();
  let stopping = false;
  store.onChange((id) => {
    const resting = waking.size === 0;
    if (id !== null) tell(id, readersOf.get(id) ?? []);
    else { // places have changed, of any job that waits
      for (const [id, readers] of readersOf) tell(id, [...readers].filter(({ queued, wake }) => queued || !wake));
    }
    if (resting && waking.size > 0) wakeSome();
  });

  function tell(id: string, readers: Iterable<Reader>): void {
    sights.delete(id);
    for (const reader of readers) {
      reader.stale = true;
      if (reader.wake) waking.add(reader);
    }
  }

  function wakeSome(): void {
    let left = SLICE;
    for (const reader of waking) {
      if (left-- === 0) return void setImmediate(wakeSome);
      waking.delete(reader);
      reader.wake?.();
    }
  }

  function look(id: string): Sight {
    const known = sights.get(id);
    if (known) return known;
    const sight: Sight = { seen: store.sight(id), eventsAfter: new Map() };
    // What could not be read is read again by whoever asks next.
    sight.seen.catch(() => sights.get(id) === sight && sights.delete(id));
    if (sights.size >= MOST_SIGHTS) sights.clear();
    sights.set(id, sight);
    return sight;
  }

  function eventsAfter(id: string, cursor: number, { eventsAfter }: Sight): Promise<readonly StoredEvent[]> {
    const known = eventsAfter.get(cursor);
    if (known) return known;
    const events = store.events(id, { after: cursor, limit: BATCH });
    if (eventsAfter.size < MOST_POSITIONS) {
      eventsAfter.set(cursor, events);
      events.catch(() => eventsAfter.delete(cursor));
    }
    return events;
  }

  /** Resolves when something happens to the job or to its reader, at the latest after `patience` ms. */
  function sleep(reader: Reader, patience: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        reader.wake = null;
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(wake, Math.min(patience, LONGEST));
      reader.wake = wake;
    });
  }

  async function next(reader: Reader, patience: number): Promise<readonly FeedEvent[] | null> {
    const deadline = performance.now() + patience;
    for (;;) {
      // The store may be closed by now: only a reader that goes on may ask it.
      if (reader.ended || reader.closed || stopping) return null;
      reader.stale = false;
      const events = await lookOver(reader);
      if (events !== null && events.length > 0) return events;
      if (reader.ended) return null;
      const left = deadline - performance.now();
      if (left <= 0) return [];
      if (events === null) await sleep(reader, Math.min(left, RETRY));
      else if (!reader.stale && !reader.closed && !stopping) await sleep(reader, left);
    }
  }

  /** What the reader can have now; null where the store cannot say: a reader has time. */
  async function lookOver(reader: Reader): Promise<FeedEvent[] | null> {
    try {
      const sight = look(reader.id);
      const seen = await sight.seen;
      const behind = seen !== null && !hasLost(reader, seen) && reader.cursor < seen.last;
      return read(reader, seen, behind ? await eventsAfter(reader.id, reader.cursor, sight) : []);
    } catch (error) {
      if (error instanceof Fault && error.code === "unavailable") return null;
      throw error;
    }
  }

  return {
    async open(id, after) {
      const seen = await look(id).seen;
      if (seen === null) {
        throw new Fault("unknown_job", `There is no job ${id.slice(0, 60)}; it may have been removed`);
      }
      const exhausted = after === seen.last && isFinal(seen.record.job.status);
      const told = { previewStep: null, position: null, queued: false };
      const reader: Reader = { id, cursor: after, ...told, ended: false, closed: false, stale: false, wake: null };
      const readers = readersOf.get(id) ?? new Set();
      readersOf.set(id, readers.add(reader));
      let asked = false;
      return {
        async next(patience) {
          if (asked) throw new Error(`Bug: a reader of job ${id} asks for more before it was answered`);
          asked = true;
          try {
            return await next(reader, patience);
          } finally {
            asked = false;
          }
        },
        interrupted: () => stopping && !reader.ended,
        exhausted: () => exhausted,
        close() {
          reader.closed = true;
          readers.delete(reader);
          if (readers.size === 0 && readersOf.get(id) === readers) readersOf.delete(id);
          reader.wake?.();
        },
      };
    },
    interrupt() {
      stopping = true;
      for (const readers of readersOf.values()) readers.forEach(({ wake }) => wake?.());
    },
  };
}

/** What comes after its place is not kept any more, or there is no such place. */
function hasLost({ cursor }: Reader, { first, last }: NonNullable<Seen>): boolean {
  return cursor < first - 1 || cursor > last;
}

/** What the reader can have now, and moves it on. `stored`: the events after its cursor. */
function read(reader: Reader, seen: Seen, stored: readonly StoredEvent[]): FeedEvent[] {
  if (seen === null) {
    reader.ended = true;
    return [];
  }
  const { id } = reader;
  const { record: { job, previewStep }, last } = seen;
  const lost = hasLost(reader, seen);
  const events: FeedEvent[] = [...stored];
  reader.cursor = lost ? last : stored.at(-1)?.id ?? reader.cursor;
  if (stored.length > 0) reader.position = placeIn(stored.at(-1)!);
  reader.queued = job.status === "queued";
  // A reader that lags is not told of what is now: it has not heard of what was before.
  if (reader.cursor < last) return events;

  reader.ended = isFinal(job.status);
  if (lost) events.push({ id: last, ...told("resync", { job }) });
  if (!reader.queued) reader.position = null;
  else if (job.position !== null && job.position !== reader.position) {
    reader.position = job.position;
    events.push({ id: null, ...told("queued", { id, position: job.position }) });
  }
  if (!reader.ended && previewStep !== null && previewStep !== reader.previewStep) {
    reader.previewStep = previewStep;
    events.push({ id: null, ...told("preview", { step: previewStep, url: jobAddress(id, "preview") }) });
  }
  return events;
}

/** The place that a stored event tells of, if it is one that does. */
function placeIn({ name, data }: StoredEvent): number | null {
  return name === "queued" ? JSON.parse(data).position : null;
}

function told<N extends EventName>(name: N, data: EventData<N>): { name: N; data: string } {
  return { name, data: JSON.stringify(data) };
}
