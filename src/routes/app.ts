/**
 * The door of the HTTP side: everything between a request and the jobs' side, in the order in which a request meets it. Invariant: a request is named, counted, guarded and
 * limited before a route sees it, and what is not a success is a problem (RFC 9457).
 */
import { OpenAPIHono } from "@hono/zod-openapi";
import { methodNotAllowed } from "hono/method-not-allowed";
import { requestId } from "hono/request-id";
import { Fault } from "../jobs/model/job.ts";
import { addCalls } from "./calls.ts";
import { addDocuments } from "./documents.ts";
import type { AppOptions, Ask, Env, Shared } from "./middleware/environment.ts";
import { crossOrigin, identify, refuseStrangers, requireKey, securityHeaders } from "./middleware/guard.ts";
import { addHealth } from "./health.ts";
import { addJobs } from "./jobs.ts";
import { limitRates } from "./middleware/limit.ts";
import { openMetrics } from "./middleware/metrics.ts";
import { addModels } from "./models.ts";
import { observe } from "./middleware/observe.ts";
import { addPage } from "./page.ts";
import { answerFault, errorHandler, nothingHere } from "./middleware/problem.ts";
import { openReceiver } from "./bodies/receive.ts";
import { refuseInvalid } from "./bodies/refusal.ts";
import { addSplice } from "./splice.ts";
export type { AppOptions, LogRecord } from "./middleware/environment.ts";

export interface App {
  readonly app: OpenAPIHono<Env>;
  /** For Deno.serve. */
  readonly fetch: (request: Request, info?: { readonly remoteAddr: Deno.Addr }) => Response | Promise<Response>;
  /** Ends the counting. */
  close(): void;
}

export function openApp(options: AppOptions): App {
  const metrics = openMetrics(options.service, options.version);
  const receive = openReceiver(options.service, { stopping: options.stopping, limits: options.receiving });
  const app = new OpenAPIHono<Env>({ defaultHook: refuseInvalid });
  const shared: Shared = { ...options, app, metrics, receive };

  app.onError(errorHandler(options.log));
  app.notFound(nothingHere);

  app.use(requestId({ limitLength: 100 }), observe(options, metrics), securityHeaders);
  app.use(identify(options), refuseStrangers(options));
  if (options.cors.length > 0) app.use(crossOrigin(options.cors));
  app.use(methodNotAllowed({ app, onMethodNotAllowed: otherMethod }));
  app.use("/v1/*", ...limitRates(options), requireKey(options));
  app.use("/metrics", requireKey(options));

  addSplice(shared);
  addJobs(shared);
  addModels(shared);
  addCalls(shared);
  addHealth(shared);
  addDocuments(shared);
  addPage(shared);

  return { app, fetch: (request, info) => app.fetch(request, info), close: metrics.close };
}

/** The address is there, the method is not. */
function otherMethod(c: Ask, methods: readonly string[]): Response {
  const allowed = [...methods, "OPTIONS"].join(", ");
  c.header("Allow", allowed);
  if (c.req.method === "OPTIONS") return c.body(null, 204);
  return answerFault(
    c,
    new Fault("method_not_allowed", `Cannot answer ${c.req.method} here: this address takes ${allowed}.`),
  );
}
