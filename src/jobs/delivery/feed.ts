/**
 * One reader's way through a job's events. A feed holds a position, never a queue: what a slow reader has not asked for stays in the store, so that it costs the
 * server nothing and delays nobody. Previews are the newest or none.
 */
import { setImmediate } from "node:timers";
import { type EventData, type EventName, Fault, isFinal, type StoredEvent } from "../model/job.ts";
import { jobAddress, type JobRecord } from "../model/record.ts";
import type { Feed, FeedEvent } from "../model/service.ts";
import type { JobStore } from "../local/store.ts";

export interface Feeds {
  /**
   * The job's events after `after`. Where those are no longer kept, or `after` is none of the job's, a `resync` comes first. @throws Fault unknown_job
   */
  open(id: string, after: number): Feed;
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
/** The longest that a timer can wait, in ms. */
const LONGEST = 2 ** 31 - 1;

/** How far a reader has come. */
interface Reader {
  readonly id: string;
  /** The last event it was given. */
  cursor: number;
  /** The step of the last preview it was given. */
  previewStep: number | null;
  /** It was given the job's last event, or the job is gone. */
  ended: boolean;
  closed: boolean;
  /** Ends its sleep; does nothing while it is awake. */
  wake(): void;
}

/** A job as it is until something happens to it: read once for all its readers. */
interface Sight {
  readonly kept: ReturnType<JobStore["kept"]>;
  readonly record: JobRecord | null;
  readonly eventsAfter: Map<number, readonly StoredEvent[]>;
}

/** All feeds of a process: one listener at the store, however many readers there are. */
export function openFeeds(store: JobStore): Feeds {
  const sleeping = new Map<string, Set<Reader>>();
  const sights = new Map<string, Sight>();
  const waking = new Set<Reader>();
  let stopping = false;
  store.onChange((id) => {
    sights.delete(id);
    const resting = waking.size === 0;
    for (const reader of sleeping.get(id) ?? []) waking.add(reader);
    if (resting && waking.size > 0) wakeSome();
  });

  function wakeSome(): void {
    let left = SLICE;
    for (const reader of waking) {
      if (left-- === 0) return void setImmediate(wakeSome);
      waking.delete(reader);
      reader.wake();
    }
  }

  function look(id: string): Sight {
    const known = sights.get(id);
    if (known) return known;
    const sight = { kept: store.kept(id), record: store.get(id), eventsAfter: new Map() };
    if (sights.size >= MOST_SIGHTS) sights.clear();
    sights.set(id, sight);
    return sight;
  }

  /** Resolves when something happens to the job or to its reader, at the latest after `patience` ms. */
  function sleep(reader: Reader, patience: number): Promise<void> {
    const sleepers = sleeping.get(reader.id) ?? new Set();
    sleeping.set(reader.id, sleepers.add(reader));
    return new Promise((resolve) => {
      const timer = setTimeout(() => reader.wake(), Math.min(patience, LONGEST));
      reader.wake = () => {
        reader.wake = () => {};
        clearTimeout(timer);
        sleepers.delete(reader);
        if (sleepers.size === 0) sleeping.delete(reader.id);
        resolve();
      };
    });
  }

  async function next(reader: Reader, patience: number): Promise<readonly FeedEvent[] | null> {
    const deadline = performance.now() + patience;
    for (;;) {
      // The store may be closed by now: only a reader that goes on may ask it.
      if (reader.ended || reader.closed || stopping) return null;
      const events = read(reader, look(reader.id), store);
      if (events.length > 0) return events;
      if (reader.ended) return null;
      const left = deadline - performance.now();
      if (left <= 0) return [];
      await sleep(reader, left);
    }
  }

  return {
    open(id, after) {
      const { kept, record } = look(id);
      if (!kept || !record) {
        throw new Fault("unknown_job", `There is no job ${id.slice(0, 60)}; it may have been removed`);
      }
      const exhausted = after === kept.last && isFinal(record.job.status);
      const reader: Reader = { id, cursor: after, previewStep: null, ended: false, closed: false, wake: () => {} };
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
          reader.wake();
        },
      };
    },
    interrupt() {
      stopping = true;
      for (const sleepers of sleeping.values()) sleepers.forEach((reader) => reader.wake());
    },
  };
}

/** What the reader can have now, and moves it on. */
function read(reader: Reader, { kept, record, eventsAfter }: Sight, store: JobStore): FeedEvent[] {
  const { id, cursor } = reader;
  if (kept === null || record === null) {
    reader.ended = true;
    return [];
  }
  const lost = cursor < kept.first - 1 || cursor > kept.last;
  const events: FeedEvent[] = [];
  if (!lost && cursor < kept.last) {
    const known = eventsAfter.get(cursor) ?? store.events(id, { after: cursor, limit: BATCH });
    if (eventsAfter.size < MOST_POSITIONS) eventsAfter.set(cursor, known);
    events.push(...known);
  }
  reader.cursor = lost ? kept.last : events.at(-1)?.id ?? cursor;
  // A reader that lags is given no previews: they are of steps it has not heard of.
  if (reader.cursor < kept.last) return events;

  const { job, previewStep } = record;
  reader.ended = isFinal(job.status);
  if (lost) events.push({ id: kept.last, ...told("resync", { job }) });
  if (!reader.ended && previewStep !== null && previewStep !== reader.previewStep) {
    reader.previewStep = previewStep;
    events.push({ id: null, ...told("preview", { step: previewStep, url: jobAddress(id, "preview") }) });
  }
  return events;
}

function told<N extends EventName>(name: N, data: EventData<N>): { name: N; data: string } {
  return { name, data: JSON.stringify(data) };
}
