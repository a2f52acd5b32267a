/** For those who watch over the server: is the process there, can it work, and how is it doing. `healthz` touches nothing that could make it wait. */
import { createRoute, z } from "@hono/zod-openapi";
import { Fault } from "../jobs/model/job.ts";
import { json, only } from "./answers/answers.ts";
import type { Shared } from "./middleware/environment.ts";

const alive = z.strictObject({ status: z.literal("ok"), version: z.string() });
const able = z.strictObject({
  status: z.literal("ready"),
  workers: z.number().int(),
  ready: z.number().int().describe("GPU workers that have opened their device"),
  adapter: z.string().nullable(),
});

export function addHealth({ app, service, metrics, version, stopping }: Shared): void {
  const tags = ["operation"];

  const healthz = createRoute({
    method: "get",
    path: "/healthz",
    tags,
    summary: "Is the process there?",
    security: [],
    responses: { 200: json(alive, "It is"), ...only("forbidden") },
  });
  app.openapi(healthz, (c) => {
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ok" as const, version }, 200);
  });

  const readyz = createRoute({
    method: "get",
    path: "/readyz",
    tags,
    summary: "Can it work?",
    security: [],
    responses: { 200: json(able, "A GPU worker has opened its device"), ...only("forbidden", "unavailable") },
  });
  app.openapi(readyz, (c) => {
    const { ready, workers, adapter } = service.health();
    if (stopping.aborted) {
      throw new Fault("unavailable", "Cannot take work: the server is stopping.", { retryAfter: 5 });
    }
    if (ready === 0) {
      const detail = workers === 0
        ? "Cannot work yet: no GPU machine is heard of. If this lasts, `splice doctor --cluster` says why."
        : `Cannot work yet: none of ${workers} GPU workers has opened its device. If this lasts, \`splice doctor\` says why.`;
      throw new Fault("unavailable", detail, { retryAfter: 2 });
    }
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ready" as const, workers, ready, adapter }, 200);
  });

  const prometheus = createRoute({
    method: "get",
    path: "/metrics",
    tags,
    summary: "Counters and gauges for Prometheus",
    responses: {
      200: { description: "Prometheus text", content: { "text/plain": { schema: z.string() } } },
      ...only("unauthorized", "forbidden"),
    },
  });
  app.openapi(prometheus, async (c) => {
    c.header("Cache-Control", "no-store");
    return c.text(await metrics.text(), 200, { "Content-Type": metrics.type });
  });
}
