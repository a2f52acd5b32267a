/**
 * One reader's way through a job's events. A feed holds a position, never a queue: what a slow reader has not asked for stays in the store, so that it costs the
 * server nothing and delays nobody. Previews are the newest or none.
 */
import type { EventName } from "./job.ts";

/** An event as it is sent; `id` is null for previews, which no replay counts. */
export interface FeedEvent {
  readonly id: number | null;
  readonly name: EventName;
  readonly data: string;
}

export interface Feed {
  /**
   * The next events in order, at least one; an empty list when `patience` ms pass without any (time for a heartbeat), null after the last event or when the
   * server stops.
   */
  next(patience: number): Promise<readonly FeedEvent[] | null>;
  /** The server is stopping, the job has not ended: the reader should come back. */
  interrupted(): boolean;
  /** Nothing after the asked-for id will ever come. */
  exhausted(): boolean;
  close(): void;
}
