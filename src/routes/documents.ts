/**
 * The server explains itself: its OpenAPI document, made from the routes, the page that shows it, made of our own files, and a page for each kind of problem, at the
 * address that problems name as their `type`.
 */
import type { OpenAPIHono } from "@hono/zod-openapi";
import { kindNames } from "../images/kinds.ts";
import { Fault, type FaultCode, FAULTS } from "../jobs/model/job.ts";
import { negotiate } from "./answers/accept.ts";
import type { Env, Shared } from "./middleware/environment.ts";

/** What to do about each kind of problem. */
const remedies: Readonly<Record<FaultCode, string>> = {
  bad_request: "Send a complete multipart/form-data body and let the HTTP client set its Content-Type.",
  unauthorized: "Send a key of this server as `Authorization: Bearer KEY`.",
  forbidden: "Use the server's own page, or an origin and a host name that its operator has allowed.",
  not_found: "See /docs for all addresses.",
  unknown_job: "Check the id. Jobs that ended are removed after a while; GET /v1/jobs lists those that are there.",
  method_not_allowed: "Use one of the methods in the Allow header.",
  not_acceptable: "Ask for image/png, image/jpeg or image/webp in the Accept header.",
  too_slow: "Send the upload again over a better connection, or send smaller pictures.",
  not_finished: "Follow /v1/jobs/{id}/events, or ask again later.",
  no_result: "The job's `error` says why. Send the pictures again with what it asks for.",
  canceled: "Send it again if the result is wanted after all.",
  idempotency_conflict: "Use a new Idempotency-Key for a new request, or send the first request unchanged.",
  payload_too_large: "Scale the picture down, or save it with a lower quality: a picture may have 25 MB.",
  unsupported_body: "Send a form: multipart/form-data. With curl: -F structure=@photo.jpg.",
  unsupported_type: `Send ${kindNames}; the content counts, not the name. /docs tells more of each kind.`,
  invalid_options: "`errors` names every field and what it must be.",
  too_large: "Scale the picture down: it may have 64 megapixels.",
  too_small: "Send a larger picture: both sides must have 32 pixels at least.",
  damaged: "Open the picture in an editor and save it again.",
  unknown_model: "GET /v1/models lists those that are here.",
  memory: "Train at a smaller `size`, or see with a smaller `vit_longest`; `detail` says what would fit.",
  untrainable: "`detail` says which options and pictures do not go together.",
  rate_limited: "Wait as long as the Retry-After header says.",
  crashed: "Try a smaller `size`. If it happens again, the server's log says more.",
  internal: "Try again. The server's log says more under the id in the X-Request-Id header.",
  queue_full: "Wait as long as the Retry-After header says.",
  unavailable: "Wait as long as the Retry-After header says.",
};

export function addDocuments(shared: Shared): void {
  const { app } = shared;

  let written: string | null = null;
  app.get("/openapi.json", (c) => {
    written ??= JSON.stringify(describe(app, shared));
    return c.body(written, 200, { "Content-Type": "application/json", "Cache-Control": "no-cache" });
  });

  app.get("/docs", (c) => c.html(docsPage));
  app.get("/docs/start.js", (c) => c.body(docsScript, 200, { "Content-Type": "text/javascript; charset=utf-8" }));

  app.get("/problems/:code", (c) => {
    const code = c.req.param("code");
    if (!Object.hasOwn(FAULTS, code)) {
      throw new Fault(
        "not_found",
        "Cannot explain this problem: there is none of that name. /docs shows what each address may answer.",
      );
    }
    const { status, title } = FAULTS[code as FaultCode];
    const remedy = remedies[code as FaultCode];
    const about = { type: `/problems/${code}`, title, status, remedy };
    c.header("Vary", "Accept", { append: true });
    if (negotiate(c, ["application/json", "text/html"]) === "application/json") return c.json(about);
    return c.html(
      pageOf(title, `<h1>${title}</h1><p>${escaped(remedy)}</p><p>HTTP status ${status}, <code>${code}</code></p>`),
    );
  });
}

/** The OpenAPI 3.1 document of all routes that were added so far. */
function describe(app: OpenAPIHono<Env>, { version, keys }: Shared): object {
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Splice",
      version,
      description:
        "Gives one photograph the appearance of another, by training a small network for each pair. Errors are RFC 9457 problems; `errors` names fields.",
      license: { name: "MIT" },
    },
    servers: [{ url: "/" }],
    security: keys.length > 0 ? [{ bearer: [] }] : [],
    tags: [
      { name: "transfers", description: "Ask for one, or for an inversion" },
      { name: "jobs", description: "What became of it" },
      { name: "models", description: "Extractors and trained generators" },
      { name: "operation", description: "For those who run the server" },
    ],
  });
  const { webhooks: _, ...rest } = document;
  const schemes = keys.length > 0 ? { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } } : {};
  return { ...rest, components: { ...document.components, ...schemes } };
}

const pageOf = (title: string, body: string, head = "") =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">` +
  `<title>${title} - Splice</title>${head}</head><body>${body}</body></html>\n`;

const docsPage = pageOf(
  "API",
  `<main id="docs"></main><noscript>This page needs JavaScript. The document itself: <a href="/openapi.json">/openapi.json</a></noscript>`,
  `<link rel="stylesheet" href="/assets/swagger-ui.css"><script src="/assets/swagger-ui-bundle.js" defer></script><script src="/docs/start.js" defer></script>`,
);

/** Scripts inside the page are forbidden, so this one is a file; without a validator address the page asks no other server. */
const docsScript =
  `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null, tryItOutEnabled: true });\n`;

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("`", "");
