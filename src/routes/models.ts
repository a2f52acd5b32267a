/** The models that are here. */
import { createRoute, z } from "@hono/zod-openapi";
import { json, problems } from "./answers/answers.ts";
import type { Shared } from "./middleware/environment.ts";

const modelsSchema = z.strictObject({
  models: z.array(z.strictObject({
    name: z.string(),
    present: z.boolean().describe("can be used"),
    default: z.boolean().describe("used where no model is named"),
    about: z.string().nullable(),
    licence: z.string().nullable(),
    megabytes: z.number().nullable(),
  })),
}).meta({ id: "Models" });

export function addModels(shared: Shared): void {
  const { app, service } = shared;

  const list = createRoute({
    method: "get",
    path: "/v1/models",
    tags: ["models"],
    summary: "The extractors, best first",
    responses: { 200: json(modelsSchema, "Known models, and others that are here"), ...problems() },
  });
  app.openapi(list, async (c) => c.json({ models: await service.models() }, 200));
}
