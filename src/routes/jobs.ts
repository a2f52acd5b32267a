/** Jobs that exist: list, look, follow, cancel, remove, and fetch what belongs to them. What they are and become is decided elsewhere; this puts it on the wire. */
import { createRoute, z } from "@hono/zod-openapi";
import { mediaTypes } from "../images/kinds.ts";
import { Fault, statusSchema } from "../jobs/model/job.ts";
import type { ImageFormatName } from "../jobs/model/messages.ts";
import type { Feed } from "../jobs/model/service.ts";
import { negotiate } from "./answers/accept.ts";
import { events, file, Job, jobParams, json, picture, problems, unchanged, whole } from "./answers/answers.ts";
import type { Ask, Shared } from "./middleware/environment.ts";
import { formatNames, formatOf, pictureTypes } from "./bodies/pictures.ts";
import { shownInstead } from "./answers/shown.ts";
import { sendFile } from "./answers/send.ts";
import { joinFeeds } from "./answers/joined.ts";
import { answerEvents } from "./answers/sse.ts";

const tags = ["jobs"];
const request = { params: jobParams };

const page = z.object({
  limit: whole(1, 100).default(20).describe("how many"),
  before: z.string().regex(/^\d{1,15}$/, { error: "it must be the `next` of another page" }).optional().describe(
    "the `next` of the page before this one",
  ),
  status: statusSchema.optional().describe("only jobs of this status"),
});
const jobsSchema = z.strictObject({
  jobs: z.array(Job).describe("newest first"),
  next: z.string().nullable().describe("give it as `before` for the next page; null on the last"),
}).meta({ id: "Jobs" });

const eventId = "it must be the id of an event, a whole number from 0";
const place = {
  query: z.object({
    after: whole(0, Number.MAX_SAFE_INTEGER).optional().describe("the events after this id"),
  }),
  headers: z.object({
    "Last-Event-ID": z.string().regex(/^\d{0,15}$/, { error: eventId }).optional().describe(
      "as EventSource sends it when it comes back; the later of the two counts",
    ),
  }),
};

const many = z.object({
  jobs: z.string().regex(/^[\w-]{1,60}(:\d{1,15})?(,[\w-]{1,60}(:\d{1,15})?){0,31}$/, {
    error: "it must be 1 to 32 times ID or ID:AFTER, separated by commas",
  }).describe("ID:AFTER for each job, separated by commas: the events after that id; ID alone for all"),
});

const wanted = z.object({
  format: z.enum(formatNames, { error: `it must be ${formatNames.join(" or ")}` }).optional()
    .describe("wins over the Accept header, for links"),
});

const shownAs = z.object({ format: wanted.shape.format.describe("default: as it was sent") });

export function addJobs(shared: Shared): void {
  const { app, service } = shared;

  const list = createRoute({
    method: "get",
    path: "/v1/jobs",
    tags,
    summary: "The jobs of this server, newest first",
    request: { query: page },
    responses: { 200: json(jobsSchema, "A page of jobs"), ...problems("invalid_options") },
  });
  app.openapi(list, async (c) => c.json(await service.list(c.req.valid("query")), 200));

  const one = createRoute({
    method: "get",
    path: "/v1/jobs/{id}",
    tags,
    summary: "A job as it is now",
    request,
    responses: { 200: json(Job, "The job"), ...problems("unknown_job") },
  });
  app.openapi(one, async (c) => {
    c.header("Cache-Control", "no-store");
    return c.json(await service.get(c.req.valid("param").id), 200);
  });

  const remove = createRoute({
    method: "delete",
    path: "/v1/jobs/{id}",
    tags,
    summary: "Cancel an active job, remove one that has ended",
    request,
    responses: {
      200: json(Job, "It was queued, and is canceled"),
      202: json(Job, "It was running, and is canceled: its worker stops within a step"),
      204: { description: "It had ended, and is removed with its files" },
      ...problems("unknown_job"),
    },
  });
  app.openapi(remove, async (c) => {
    const done = await service.remove(c.req.valid("param").id);
    if (done.did === "removed") return c.body(null, 204);
    return c.json(done.job, done.was === "queued" ? 200 : 202);
  });

  const follow = createRoute({
    method: "get",
    path: "/v1/jobs/{id}/events",
    tags,
    summary: "Follow a job",
    description:
      "Server-sent events: first what was missed, then what happens, without gaps or repeats. `resync` stands for events that are no longer kept.",
    request: { ...request, ...place },
    responses: {
      200: events("The job's events after the given id"),
      204: { description: "All events were received: stop coming back" },
      ...problems("unknown_job", "invalid_options"),
    },
  });
  app.openapi(follow, async (c) => {
    const { after } = c.req.valid("query");
    const last = c.req.valid("header")["Last-Event-ID"];
    // An EventSource keeps the `after` of its address when it comes back, and adds how far it came since.
    const feed = await service.feed(c.req.valid("param").id, Math.max(after ?? 0, Number(last ?? 0)));
    if (!feed.exhausted()) return answerEvents(c, feed, shared);
    feed.close();
    return c.body(null, 204);
  });

  const followMany = createRoute({
    method: "get",
    path: "/v1/events",
    tags,
    summary: "Follow several jobs over one connection",
    description:
      "For browsers, whose tabs share six connections a host. Data is `{job, id, data}`; before a job's events comes `open`, `over` (all were received) or `unknown`.",
    request: { query: many },
    responses: { 200: events("The jobs' events after the given ids"), ...problems("invalid_options") },
  });
  app.openapi(followMany, async (c) => {
    const feeds = new Map<string, Feed | null>();
    try {
      for (const place of c.req.valid("query").jobs.split(",")) {
        const [id, after] = place.split(":");
        feeds.set(id, await feedOf(id, Number(after ?? 0)));
      }
    } catch (error) {
      for (const feed of feeds.values()) feed?.close();
      throw error;
    }
    return answerEvents(c, joinFeeds(feeds), shared);
  });
  /** Null where there is no such job. */
  async function feedOf(id: string, after: number): Promise<Feed | null> {
    try {
      return await service.feed(id, after);
    } catch (error) {
      if (error instanceof Fault && error.code === "unknown_job") return null;
      throw error;
    }
  }

  for (const name of ["result", "trained"] as const) {
    const result = createRoute({
      method: "get",
      path: `/v1/jobs/{id}/${name}`,
      tags,
      summary: name === "result" ? "The picture" : "The picture, as large as it was trained",
      description: name === "result"
        ? "Of a transfer, as large as the structure picture, unless its option `detail` is `none`."
        : "Of a transfer, before `detail` gave it the structure picture's size; the same as `result` where it was not enlarged.",
      request: { ...request, query: wanted },
      responses: {
        200: picture("The picture, in the format that the Accept header likes best"),
        ...unchanged,
        ...problems(
          "unknown_job",
          "not_finished",
          "no_result",
          "canceled",
          "not_acceptable",
          "invalid_options",
          "unavailable",
        ),
      },
    });
    app.openapi(result, async (c) => {
      const { id } = c.req.valid("param");
      const served = await service[name](id, chosenFormat(c, c.req.valid("query").format));
      const saved = name === "result" ? `splice-${id}` : `splice-${id}-trained`;
      return await sendFile(c, served, { name: saved, disposition: "inline", kept: true });
    });
  }

  const preview = createRoute({
    method: "get",
    path: "/v1/jobs/{id}/preview",
    tags,
    summary: "The newest rendering",
    request,
    responses: {
      200: file("The picture as the training has it now: of a transfer, the whole structure picture", "image/jpeg"),
      ...unchanged,
      ...problems("unknown_job", "not_finished", "no_result", "canceled", "not_found"),
    },
  });
  app.openapi(preview, async (c) => {
    const { id } = c.req.valid("param");
    return await sendFile(c, await service.preview(id), { name: `preview-${id}`, disposition: "inline", kept: true });
  });

  const generator = createRoute({
    method: "get",
    path: "/v1/jobs/{id}/generator",
    tags,
    summary: "The trained generator, for `splice apply`",
    request,
    responses: {
      200: file("Weights as safetensors", "application/octet-stream"),
      ...unchanged,
      ...problems("unknown_job", "not_finished", "no_result", "canceled", "not_found"),
    },
  });
  app.openapi(generator, async (c) => {
    const { id } = c.req.valid("param");
    const served = await service.generator(id);
    return await sendFile(c, served, { name: `generator-${id}`, disposition: "attachment", kept: true });
  });

  for (const name of ["structure", "appearance", "image"] as const) {
    const input = createRoute({
      method: "get",
      path: `/v1/jobs/{id}/${name}`,
      tags,
      summary: name === "image"
        ? "The photograph of an inversion, as it was sent"
        : `The ${name} picture of a transfer, as it was sent`,
      description: "In a `format` that is asked for: as it was understood, upright, in sRGB, on white. " +
        "So also, as JPEG, where the Accept header names pictures but not its kind, as browsers do not name HEIC.",
      request: { ...request, query: shownAs },
      responses: {
        200: file("The picture", ...Object.values(mediaTypes)),
        ...unchanged,
        ...problems("unknown_job", "not_found", "invalid_options", "not_acceptable", "unavailable"),
      },
    });
    app.openapi(input, async (c) => {
      const { id } = c.req.valid("param");
      const { format } = c.req.valid("query");
      const sending = { name: `${name}-${id}`, disposition: "inline", kept: true } as const;
      if (format !== undefined) return await sendFile(c, await service.inputAs(id, name, format), sending);
      const sent = await service.input(id, name);
      const instead = await shownInstead(c, sent);
      return await sendFile(c, instead === undefined ? sent : await service.inputAs(id, name, instead), sending);
    });
  }
}

/** The format that was asked for: by name, or else by the Accept header. */
export function chosenFormat(c: Ask, name: ImageFormatName | undefined): ImageFormatName {
  if (name !== undefined) return name;
  c.header("Vary", "Accept", { append: true });
  return formatOf(negotiate(c, pictureTypes));
}
