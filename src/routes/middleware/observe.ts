/** Sees each request come and its answer go: for the log and for the counters. Streams count from their beginning. */
import { createMiddleware } from "hono/factory";
import { matchedRoutes } from "hono/route";
import type { AppOptions, Ask, Env } from "./environment.ts";
import type { Metrics } from "./metrics.ts";

export function observe({ log }: AppOptions, metrics: Metrics) {
  return createMiddleware<Env>(async (c, next) => {
    const begun = performance.now();
    await next();
    const ms = performance.now() - begun;
    const { method, path } = c.req;
    const { status, headers } = c.res;
    const route = patternOf(c);
    const length = headers.get("content-length");
    metrics.answered({ method, route, status, seconds: ms / 1000 });
    log({
      what: "request",
      request: c.get("requestId"),
      client: c.get("address") ?? "unknown",
      method,
      route,
      path: path.length > 200 ? `${path.slice(0, 200)}…` : path,
      status,
      ms: Math.round(ms * 10) / 10,
      bytes: length === null ? null : Number(length),
    });
  });
}

/** The pattern of the route that answered, "unmatched" where none did: paths of strangers must not become labels. */
function patternOf(c: Ask): string {
  const route = matchedRoutes(c).findLast(({ method }) => method !== "ALL");
  return route?.path.replaceAll(/:(\w+)/g, "{$1}") ?? "unmatched";
}
