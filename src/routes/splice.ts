/**
 * The three ways to ask for work: wait for the picture, follow the events, or get the job and look again later; the last one is for inversions too. They differ only in what is
 * answered: each job is durable from the moment it is created, and goes on when its client goes away.
 */
import { createRoute, z } from "@hono/zod-openapi";
import { Fault, type Job as JobData } from "../jobs/model/job.ts";
import { negotiate } from "./answers/accept.ts";
import { creationFaults, events, Job, json, picture, problems } from "./answers/answers.ts";
import type { Ask, Shared } from "./middleware/environment.ts";
import { type DocumentedForm, jobForm, spliceForm, usualKind } from "./bodies/forms.ts";
import { answerProblem } from "./middleware/problem.ts";
import { formatOf, pictureTypes } from "./bodies/pictures.ts";
import { kindSchema } from "../jobs/model/work.ts";
import { sendFile } from "./answers/send.ts";
import { answerEvents } from "./answers/sse.ts";

const keyed = z.object({
  "Idempotency-Key": z.string()
    .regex(/^[\x21-\x7e]{1,200}$/, { error: "it must have 1 to 200 visible ASCII characters" })
    .optional()
    .describe(
      "any text of one's own, such as a UUID: the same request with the same key gives the same job, however often it is sent",
    ),
});

export function addSplice(shared: Shared): void {
  const { app, service, receive } = shared;
  const form = spliceForm(shared);
  const anyForm = jobForm(shared);
  const request = { headers: keyed, body: form.body };
  const tags = ["transfers"];

  /** Takes the request in and queues it. From here on the answer names the job, whatever it is. */
  async function create(c: Ask, form: DocumentedForm, key: string | undefined): Promise<JobData> {
    const { upload, fields: { kind = usualKind, webhook_url, ...fields } } = await receive(
      c.req.raw,
      form,
      c.get("key") ?? c.get("address"),
    );
    try {
      const { job, replayed } = await service.create({
        upload,
        kind: kindSchema.parse(kind),
        fields,
        webhookUrl: webhook_url ?? null,
        idempotencyKey: key === undefined ? null : `${c.get("key") ?? "anyone"}:${key}`,
      });
      c.header("Location", job.urls.self);
      if (replayed) c.header("Idempotent-Replayed", "true");
      return job;
    } finally {
      await upload.discard();
    }
  }

  const wait = createRoute({
    method: "post",
    path: "/v1/splice",
    tags,
    summary: "Transfer, and wait for the picture",
    description: "Answers when the job has ended: with the picture, or by `Accept: application/json` with the job. " +
      "The job goes on if the connection breaks; the Location header names it.",
    request,
    responses: {
      200: {
        description: "The picture, or the job",
        content: { ...picture("").content, ...json(Job, "").content },
      },
      ...problems(...creationFaults, "not_acceptable", "canceled", "unknown_job", "no_result", "crashed", "internal"),
    },
  });
  app.openapi(wait, async (c) => {
    const type = negotiate(c, [...pictureTypes, "application/json"]);
    const { id } = await create(c, form, c.req.valid("header")["Idempotency-Key"]);
    const job = await service.finished(id);
    if (job.status === "canceled") throw new Fault("canceled", "Cannot answer with a picture: the job was canceled.");
    if (job.error !== null) return answerProblem(c, job.error);
    if (type === "application/json") return c.json(job, 200);
    const served = await service.result(id, formatOf(type));
    c.header("Vary", "Accept", { append: true });
    return await sendFile(c, served, { name: `splice-${id}`, disposition: "inline", kept: false });
  });

  const stream = createRoute({
    method: "post",
    path: "/v1/splice/stream",
    tags,
    summary: "Transfer, and follow its events",
    description:
      "The same request, answered as server-sent events. The first names the job: after a drop go on at `/v1/jobs/{id}/events`.",
    request,
    responses: { 200: events("The job's events from the first"), ...problems(...creationFaults) },
  });
  app.openapi(stream, async (c) => {
    const { id } = await create(c, form, c.req.valid("header")["Idempotency-Key"]);
    return answerEvents(c, await service.feed(id, 0), shared);
  });

  const queue = createRoute({
    method: "post",
    path: "/v1/jobs",
    tags,
    summary: "Transfer or invert, and look again later",
    description:
      "Answers at once. The Location header is the job's address. The field `kind` says what is to be done, and thereby which " +
      "pictures and options there are.",
    request: { headers: keyed, body: anyForm.body },
    responses: { 202: json(Job, "The job, queued"), ...problems(...creationFaults) },
  });
  app.openapi(queue, async (c) => c.json(await create(c, anyForm, c.req.valid("header")["Idempotency-Key"]), 202));
}
