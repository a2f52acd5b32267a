/**
 * What every route has at hand: the jobs' side, the limits, and what is known of the one who asks. Nothing is decided here; `app.ts` puts it together once.
 */
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { JobService } from "../../jobs/model/service.ts";
import type { Metrics } from "./metrics.ts";
import type { ReceiveLimits, Receiver } from "../bodies/receive.ts";

/** A line of the log. `request` is written once a request has been answered (a stream: once it has begun), `error` when something went wrong inside. */
export type LogRecord =
  | {
    readonly what: "request";
    readonly request: string;
    readonly client: string;
    readonly method: string;
    /** The route's pattern, for counting; the path as it was asked for. */
    readonly route: string;
    readonly path: string;
    readonly status: number;
    readonly ms: number;
    /** Of the body; null where it is streamed. */
    readonly bytes: number | null;
  }
  | { readonly what: "error"; readonly request: string; readonly error: unknown };

export interface AppOptions {
  readonly service: JobService;
  readonly version: string;
  /** Bearer tokens that open /v1 and /metrics; none: open to all. */
  readonly keys: readonly string[];
  /** Creating requests (POSTs under /v1) a minute and client; 0 for no limit on anything. */
  readonly rateLimit: number;
  /** Origins whose pages may use this server, as `https://example.org`; `*` for all. */
  readonly cors: readonly string[];
  /** A proxy stands in front: believe the last hop of its X-Forwarded-For, and its X-Forwarded-Host. */
  readonly trustProxy: boolean;
  /** The folder of the built page: index.html, app.js, app.css, swagger-ui.css, swagger-ui-bundle.js. */
  readonly assets: string;
  /** The folder of the bundled photographs. */
  readonly examples: string;
  readonly allowPrivateWebhooks: boolean;
  /** Aborted when the server begins to stop: from then on nothing is taken in. */
  readonly stopping: AbortSignal;
  readonly log: (record: LogRecord) => void;
  /** For tests: other patience than the usual. */
  readonly receiving?: Partial<ReceiveLimits>;
  readonly beatMs?: number;
}

export interface Env {
  /** What Deno.serve tells beside the request. */
  Bindings: { readonly remoteAddr?: Deno.Addr | undefined };
  Variables: {
    requestId: string;
    /** The client's network address. */
    address: string;
    /** Whose it is: the hash of an API key, or null. */
    key: string | null;
    /** Set where requests are counted. */
    rateLimit?: { readonly limit: number; readonly resetTime: Date | undefined } | undefined;
  };
}

export type Ask = Context<Env>;

/** Handed to each file of routes. */
export interface Shared extends AppOptions {
  readonly app: OpenAPIHono<Env>;
  readonly metrics: Metrics;
  readonly receive: Receiver;
}
