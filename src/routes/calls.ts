/**
 * What is answered at once, without a job: an extractor's features of a picture, pictures of what it sees, a trained generator on another picture, and
 * a photograph in a format that everything shows. A form comes in, a
 * file goes out, and nothing of either is kept.
 */
import { createRoute, z } from "@hono/zod-openapi";
import type { Served, Upload } from "../jobs/model/service.ts";
import { type LookName, lookNames } from "../splice/instruments/look_options.ts";
import { file, picture, problems, uploadFaults } from "./answers/answers.ts";
import type { Ask, Shared } from "./middleware/environment.ts";
import { applyForm, type DocumentedForm, featuresForm, lookForm, previewForm } from "./bodies/forms.ts";
import { chosenFormat } from "./jobs.ts";
import { sendFile, type Sending } from "./answers/send.ts";

const tags = ["models"];
const inBestFormat = picture("The picture, in the format that the Accept header likes best");

const looks: Readonly<Record<LookName, { readonly summary: string; readonly description: string }>> = {
  pca: {
    summary: "What the extractor takes for alike, in like colours",
    description:
      "Three principal components of the self-similarity of one block's keys, as red, green and blue, at the photograph's size.",
  },
  attention: {
    summary: "Where the extractor's [CLS] looks",
    description:
      "How [CLS] shares out its attention in one block, of one head or of all side by side: light is where it looks most.",
  },
  similarity: {
    summary: "What resembles one place of a photograph",
    description:
      "The cosine similarity of every patch's key to that of the patch at `x`, `y`, which is framed: light is most alike.",
  },
};

export function addCalls(shared: Shared): void {
  const { app, service, receive } = shared;

  /** Receives a form, has the answer made in its upload's folder, and removes that folder once the answer is out. */
  async function answer(
    c: Ask,
    { form, make, sending }: {
      form: DocumentedForm;
      make: (upload: Upload, fields: Readonly<Record<string, string>>) => Promise<Served>;
      sending: Pick<Sending, "name" | "disposition">;
    },
  ): Promise<Response> {
    const { upload, fields } = await receive(c.req.raw, form, c.get("key") ?? c.get("address"));
    try {
      const served = await make(upload, fields);
      return await sendFile(c, served, { ...sending, kept: false, after: () => upload.discard() });
    } catch (error) {
      await upload.discard();
      throw error;
    }
  }

  const features = createRoute({
    method: "post",
    path: "/v1/features",
    tags,
    summary: "An extractor's features of a picture",
    description:
      "Tensors `block.{i}.tokens`, `.queries`, `.keys`, `.values` [t, d] (heads concatenated; [CLS] first, then registers if the model has some, then patches) and `self_similarity.{i}` [t, t]; metadata: grid, patch, resized size, and the number of registers where there are some.",
    request: { body: featuresForm.body },
    responses: {
      200: file("Tensors as safetensors", "application/octet-stream"),
      ...problems(...uploadFaults, "unknown_model", "memory", "untrainable", "crashed"),
    },
  });
  app.openapi(features, (c) =>
    answer(c, {
      form: featuresForm,
      make: (upload, fields) => service.features(upload, fields),
      sending: { name: "features", disposition: "attachment" },
    }));

  for (const look of lookNames) {
    const form = lookForm(look);
    const route = createRoute({
      method: "post",
      path: `/v1/${look}`,
      tags,
      ...looks[look],
      request: { body: form.body },
      responses: {
        200: inBestFormat,
        ...problems(...uploadFaults, "unknown_model", "not_acceptable", "memory", "untrainable", "crashed"),
      },
    });
    app.openapi(route, (c) => {
      const format = chosenFormat(c, undefined);
      return answer(c, {
        form,
        make: (upload, fields) => service.look(look, upload, { fields, format }),
        sending: { name: look, disposition: "inline" },
      });
    });
  }

  const preview = createRoute({
    method: "post",
    path: "/v1/preview",
    tags,
    summary: "A photograph as it is understood",
    description:
      "Upright, in sRGB, on white, of its own size: for what cannot show the photograph itself, as browsers cannot show HEIC and TIFF.",
    request: { body: previewForm.body },
    responses: { 200: inBestFormat, ...problems(...uploadFaults, "not_acceptable", "crashed") },
  });
  app.openapi(preview, (c) => {
    const format = chosenFormat(c, undefined);
    return answer(c, {
      form: previewForm,
      make: (upload) => service.show(upload, format),
      sending: { name: "preview", disposition: "inline" },
    });
  });

  const apply = createRoute({
    method: "post",
    path: "/v1/generators/{id}/apply",
    tags,
    summary: "Render another picture with a job's trained generator",
    request: { params: z.object({ id: z.string().describe("the job that trained it") }), body: applyForm.body },
    responses: {
      200: inBestFormat,
      ...problems(
        ...uploadFaults,
        "unknown_job",
        "not_finished",
        "no_result",
        "canceled",
        "not_found",
        "not_acceptable",
        "memory",
        "crashed",
      ),
    },
  });
  app.openapi(apply, async (c) => {
    const { id } = c.req.valid("param");
    const format = chosenFormat(c, undefined);
    await service.get(id); // an unknown job is refused before its picture has travelled
    return await answer(c, {
      form: applyForm,
      make: (upload, fields) => service.apply(id, upload, { fields, format }),
      sending: { name: `applied-${id}`, disposition: "inline" },
    });
  });
}
