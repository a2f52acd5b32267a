/**
 * The feeds of several jobs as one, for readers who may hold only one connection: browsers open six a host, for all their tabs together. Every event says whose it is; order
 * holds within a job. Invariant: a feed is asked again only when it has answered, and all are closed with the joined one.
 */
import type { Feed, FeedEvent } from "../../jobs/model/service.ts";

/** What one job's reader is told: an event of the job, or how its feed stands: `open` at first, `over` after the last event, `unknown` where there is no such job. */
export interface JoinedEvent {
  readonly id: number | null;
  readonly name: FeedEvent["name"] | "open" | "over" | "unknown";
  /** JSON: `{job, id, data}`. */
  readonly data: string;
}

/** Longer than anyone waits, in ms: the joined feed has patience of its own. */
const FOR_EVER = 2 ** 31 - 1;

/** By job; null for a job that is not there. The joined feed takes them over. */
export function joinFeeds(feeds: ReadonlyMap<string, Feed | null>): Feed<JoinedEvent> {
  const open = new Map<string, Feed>();
  const asked = new Map<string, Promise<readonly JoinedEvent[]>>();
  let first: JoinedEvent[] | null = Array.from(feeds, ([job, feed]) => {
    if (feed === null) return standing(job, "unknown");
    if (!feed.exhausted()) open.set(job, feed);
    else feed.close();
    return standing(job, open.has(job) ? "open" : "over");
  });
  let closed = false;

  async function ask(job: string, feed: Feed): Promise<readonly JoinedEvent[]> {
    const events = await feed.next(FOR_EVER);
    asked.delete(job);
    if (events !== null) return events.map(({ id, name, data }) => ({ id: null, name, data: wrapped(job, id, data) }));
    if (feed.interrupted()) return [];
    open.delete(job);
    return [standing(job, "over")];
  }

  return {
    async next(patience) {
      if (closed) return null;
      if (first !== null) {
        const said = first;
        first = null;
        return said;
      }
      if (open.size === 0 || interrupted()) return null;
      for (const [job, feed] of open) {
        if (!asked.has(job)) asked.set(job, ask(job, feed));
      }
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<readonly JoinedEvent[]>((resolve) => timer = setTimeout(resolve, patience, []));
      const events = await Promise.race([...asked.values(), late]).finally(() => clearTimeout(timer));
      return closed || events.length === 0 && interrupted() ? null : events;
    },
    interrupted,
    exhausted: () => false,
    close() {
      closed = true;
      for (const feed of open.values()) feed.close();
    },
  };

  function interrupted(): boolean {
    return Array.from(open.values()).some((feed) => feed.interrupted());
  }
}

const standing = (job: string, name: "open" | "over" | "unknown"): JoinedEvent => ({
  id: null,
  name,
  data: wrapped(job, null, "{}"),
});

const wrapped = (job: string, id: number | null, data: string) =>
  `{"job":${JSON.stringify(job)},"id":${id},"data":${data}}`;
