/**
 * Stands in for the routes of the instruments where the server has none: answers looks with pictures made of the photograph's own colours, and plays an inversion as a
 * transfer from a photograph to itself under another name. For the page alone: what it answers looks right, and is not.
 */
import { decodeImage } from "../../src/images/decode.ts";
import { encodeImage } from "../../src/images/encode.ts";
import { fitPicture, type Picture } from "../../src/images/picture.ts";
import { framed, type Grid, heatColours, overPhotograph, paintGrid, patchAt } from "../../src/splice/grid_picture.ts";
import { parseInversion } from "../../src/splice/inversion_options.ts";
import { parseRecipe } from "../../src/splice/recipe.ts";

interface Told {
  readonly id: string;
  readonly urls: { readonly self: string };
  readonly jobs?: readonly Told[];
}

type Handler = (request: Request) => Response | Promise<Response>;

const depth = 12;
const side = 28;
const taken = ["preset", "model", "steps", "seed", "size", "preview_every"];

/** `next`, with the instruments before it. */
export function withInstruments(next: Handler): Handler {
  const inversions = new Map<string, object>();
  return async (request) => {
    const { pathname } = new URL(request.url);
    const look = /^\/v1\/(pca|attention|similarity)$/.exec(pathname)?.[1];
    if (look && request.method === "POST") return await answer(look, request);
    if (request.method === "POST" && pathname === "/v1/jobs") return await create(request);
    const image = /^(\/v1\/jobs\/[^/]+)\/image$/.exec(pathname);
    if (image) return await next(new Request(new URL(`${image[1]}/structure`, request.url), request));
    const response = await next(request);
    const json = /^\/v1\/jobs(\/[^/]+)?$/.test(pathname) && response.ok && response.status !== 204;
    return json ? Response.json(told(await response.json()), { status: response.status }) : response;
  };

  async function create(request: Request): Promise<Response> {
    const form = await request.clone().formData();
    if (form.get("kind") !== "invert") return await next(request);
    const options = Object.fromEntries(
      Array.from(form).filter(([name, value]) => typeof value === "string" && name !== "kind"),
    );
    const parsed = parseInversion(options);
    if (!parsed.ok) return refusal(parsed.errors);
    const body = new FormData();
    for (const name of ["structure", "appearance"]) body.append(name, form.get("image")!, name);
    for (const name of taken) if (options[name] !== undefined) body.append(name, options[name]);
    body.append("weight_id", "0");
    const headers = new Headers(request.headers);
    headers.delete("content-type");
    headers.delete("content-length");
    const response = await next(new Request(request.url, { method: "POST", body, headers }));
    if (!response.ok) return response;
    const job = await response.json();
    inversions.set(job.id, parsed.recipe);
    return Response.json(told(job), { status: response.status });
  }

  /** A job, or a page of them, with the inversions among them under their own name. */
  function told(body: Told): unknown {
    if (body.jobs) return { ...body, jobs: body.jobs.map(told) };
    const options = inversions.get(body.id);
    if (!options) return body;
    const urls = { ...body.urls, structure: null, appearance: null, image: `${body.urls.self}/image` };
    return { ...body, kind: "invert", options, urls: { ...urls, generator: null, apply: null } };
  }
}

function refusal(errors: readonly { readonly field: string; readonly message: string }[]): Response {
  const detail = errors.map(({ message }) => message).join("; ");
  const problem = { type: "/problems/invalid_options", title: "The request has invalid fields", status: 422 };
  return Response.json({ ...problem, detail, errors }, { status: 422 });
}

async function answer(look: string, request: Request): Promise<Response> {
  const form = await request.formData();
  const number = (name: string, usual: number) => Number(form.get(name) ?? usual);
  const sides = Object.fromEntries(["vit_side", "vit_longest"].map((name) => [name, form.get(name) ?? undefined]));
  const parsed = parseRecipe(sides);
  if (!parsed.ok) return refusal(parsed.errors);
  if (number("layer", 0) >= depth) {
    const message = `Cannot use layer = ${form.get("layer")}: splice-tiny8 has ${depth} blocks, 0 to ${depth - 1}`;
    return refusal([{ field: "layer", message }]);
  }
  const bytes = new Uint8Array(await (form.get("image") as File).arrayBuffer());
  const picture = fitPicture(await decodeImage(bytes, { label: "image" }), 480);
  const painted = paint(look, { picture, x: number("x", 0.5), y: number("y", 0.5) });
  const format = /jpeg|webp/.exec(request.headers.get("accept") ?? "")?.[0] as "jpeg" | "webp" | undefined;
  const made = await encodeImage(painted, format ?? "png");
  return new Response(new Uint8Array(made), { headers: { "Content-Type": `image/${format ?? "png"}` } });
}

function paint(look: string, { picture, x, y }: { picture: Picture; x: number; y: number }): Picture {
  const { width, height } = picture;
  const patch = Math.min(width, height) / side;
  const grid: Grid = {
    rows: Math.floor(height / patch),
    cols: Math.floor(width / patch),
    patch,
    seen: { width, height },
  };
  const colours = patchColours(picture, grid);
  const count = grid.rows * grid.cols;
  if (look === "pca") {
    const spread = colours.map((value) => Math.min(1, Math.max(0, (value - 0.5) * 1.8 + 0.5)));
    return paintGrid(spread, grid, picture);
  }
  const at = patchAt({ x: Math.floor(x * width), y: Math.floor(y * height) }, grid, picture);
  const chosen = look === "similarity" ? at.row * grid.cols + at.col : Math.floor(count / 2 + grid.cols / 2);
  const heat = Float32Array.from({ length: count }, (_, i) => {
    let distance = 0;
    for (let c = 0; c < 3; c++) distance += (colours[c * count + i] - colours[c * count + chosen]) ** 2;
    return Math.exp(-8 * distance);
  });
  const mixed = overPhotograph(paintGrid(heatColours(heat), grid, picture), picture);
  return look === "similarity" ? framed(mixed, at, grid) : mixed;
}

/** The colour in the middle of each patch. */
function patchColours({ data, width, height }: Picture, { rows, cols, patch }: Grid): Float32Array {
  return Float32Array.from({ length: 3 * rows * cols }, (_, i) => {
    const colour = Math.floor(i / (rows * cols));
    const [row, col] = [Math.floor(i / cols) % rows, i % cols];
    const [y, x] = [row, col].map((place) => Math.floor((place + 0.5) * patch));
    return data[(colour * height + y) * width + x];
  });
}
