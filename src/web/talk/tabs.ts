/**
 * A tab's end of the one event stream that all tabs share (`tabs_hub.ts`): something that answers like fetch, for `follow.ts`. Where browsers have no shared workers a tab has a
 * connection of its own, as long as it can be seen; one on the shared stream stays on it when hidden, for it costs nothing and its title tells how far the job is.
 */
import { apiKey, reachable, request } from "./api.ts";
import { HERE_EVERY, type Told, type Wish } from "./tabs_hub.ts";

/** What tabs and worker agree on: tabs of another version of the page have a worker of their own. */
const agreement = "splice-tabs-1";
/** How long a worker may take to say that it is there, in ms. */
const SILENCE = 5000;

interface Hearer {
  hear(told: Told): void;
  /** The worker is of no use, or the tab is put aside. */
  lose(): void;
}

interface Worker {
  say(wish: Wish): void;
  readonly hearers: Map<number, Hearer>;
}

/** Undefined before it is needed, null where there is none. */
let worker: Worker | null | undefined;
let streams = 0;

/** For `follow`: a job's events, over the stream that all tabs share where that can be. */
export function jobEvents(job: string): (url: string, init: RequestInit) => Promise<Response> {
  return async (url, init) => {
    for (;;) {
      if (worker === undefined) worker = openWorker();
      if (worker === null) return await ownStream(url, init);
      const response = await sharedStream(worker, job, init);
      if (response.status !== 401) return response;
      const asked = await request(`/v1/jobs/${encodeURIComponent(job)}`, { signal: init.signal ?? null }); // asks for a key
      await asked.body?.cancel();
    }
  };
}

function openWorker(): Worker | null {
  if (typeof SharedWorker === "undefined") return null;
  try {
    const shared = new SharedWorker("/tabs.js", agreement);
    const hearers: Worker["hearers"] = new Map();
    const say = (wish: Wish) => shared.port.postMessage(wish);
    const lose = () => [...hearers.values()].forEach((hearer) => hearer.lose());
    shared.port.onmessage = ({ data }: MessageEvent<Told>) => hearers.get(data.stream)?.hear(data);
    shared.onerror = () => {
      worker = null;
      lose();
    };
    addEventListener("pagehide", () => {
      lose();
      say({ what: "leave" });
    });
    setInterval(() => hearers.size > 0 && say({ what: "here" }), HERE_EVERY);
    return { say, hearers };
  } catch {
    return null; // not allowed here
  }
}

/** As fetch would answer. @throws TypeError when the server, or the worker, does not answer: both are worth another try */
function sharedStream({ say, hearers }: Worker, job: string, init: RequestInit): Promise<Response> {
  const stream = ++streams;
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const encoder = new TextEncoder();
  let pipe: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => void (pipe = controller),
    cancel: close,
  });
  const silent = setTimeout(() => {
    worker = null;
    fail(new TypeError("the shared worker is silent"));
  }, SILENCE);
  function close(): void {
    clearTimeout(silent);
    init.signal?.removeEventListener("abort", abort);
    if (hearers.delete(stream)) say({ what: "close", stream });
  }
  function fail(reason: unknown): void {
    close();
    reject(reason);
    pipe.error(reason);
  }
  function abort(): void {
    fail(init.signal!.reason);
  }
  hearers.set(stream, {
    lose: () => fail(new TypeError("the shared worker is gone")),
    hear(told) {
      clearTimeout(silent);
      if (told.what === "text") pipe.enqueue(encoder.encode(told.text));
      else if (told.what === "end") {
        close();
        pipe.close();
      } else if (told.what === "answer") {
        reachable.value = told.status !== 0;
        if (told.status === 0) return fail(new TypeError("nothing answers"));
        if (told.status === 200) return resolve(new Response(body));
        close();
        resolve(new Response(null, { status: told.status }));
      }
    },
  });
  init.signal?.addEventListener("abort", abort);
  if (init.signal?.aborted) abort();
  else {
    const after = Number(new Headers(init.headers).get("Last-Event-ID") ?? 0);
    say({ what: "open", stream, job, after, key: apiKey.value });
  }
  return promise;
}

/** A connection of the tab's own, given up while nobody sees the tab: six such hold up everything else of this server. */
async function ownStream(url: string, init: RequestInit): Promise<Response> {
  const hidden = new AbortController();
  const signal = init.signal ? AbortSignal.any([init.signal, hidden.signal]) : hidden.signal;
  const look = () => {
    if (document.visibilityState === "hidden") hidden.abort(new TypeError("the tab is hidden"));
  };
  document.addEventListener("visibilitychange", look, { signal });
  await untilSeen(init.signal ?? null);
  return await request(url, { ...init, signal });
}

function untilSeen(signal: AbortSignal | null): Promise<void> {
  return new Promise((resolve) => {
    const done = new AbortController();
    const look = () => {
      if (document.visibilityState === "hidden" && !signal?.aborted) return;
      done.abort();
      resolve();
    };
    document.addEventListener("visibilitychange", look, { signal: done.signal });
    signal?.addEventListener("abort", look, { signal: done.signal });
    look();
  });
}
