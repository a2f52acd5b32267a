/**
 * Requests made from our own OpenAPI document, good and bad: whatever is sent, the answer is one that the document promises for that address, and never a failure of
 * the server. A worker that ends each job as it comes lets routes that wait come to an end.
 */
import assert from "node:assert/strict";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc, { type Arbitrary } from "fast-check";
import { fixture, inversionForm, onStage, queued, type Theatre } from "../support/routes/service.ts";

const requests = 2000;

interface Schema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly format?: string;
  readonly const?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  /** Each says what else must be there, what else a field must be, and what must not be there (false). */
  readonly oneOf?: readonly {
    readonly properties: Readonly<Record<string, Schema | false>>;
    readonly required: readonly string[];
  }[];
}
interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly schema: Schema;
}
interface Operation {
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: { readonly "multipart/form-data": { readonly schema: Schema } } };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: object;
}

type Value = string | Uint8Array<ArrayBuffer>;

const whole = ["orientation-1.png", "orientation-1.jpg", "lossy.webp"].map(fixture);
const damaged = fc.tuple(fc.constantFrom(...whole, fixture("other.gif")), fc.nat(200), fc.nat(255), fc.nat(600)).map(
  ([bytes, at, byte, length]) => {
    const copy = bytes.slice(0, length);
    if (at < copy.length) copy[at] = byte;
    return copy;
  },
);
const file: Arbitrary<Value> = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...whole) }, damaged);
const junk = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom("", "null", "-1", "1e999", "0x10", "../..", "true"),
);

/** What the schema allows. */
function goodOf({ type, const: only, enum: choices, minimum = -1e6, maximum = 1e6, format }: Schema): Arbitrary<Value> {
  if (format === "binary") return file;
  if (only !== undefined) return fc.constant(only);
  if (choices) return fc.constantFrom(...choices);
  if (type === "integer") return fc.integer({ min: minimum, max: Math.min(maximum, 2 ** 31) }).map(String);
  if (type === "number") return fc.double({ min: minimum, max: maximum, noNaN: true }).map(String);
  if (type === "boolean") return fc.boolean().map(String);
  return format === "uri" ? fc.webUrl() : fc.constantFrom("1", "splice-tiny8", "5", "0,1");
}

/** Mostly what the schema allows; of a form's file now and then a text, of anything else a junk text or a file. */
const valueOf = (schema: Schema): Arbitrary<Value> =>
  fc.oneof({ weight: 12, arbitrary: goodOf(schema) }, { weight: 1, arbitrary: junk }, {
    weight: schema.format === "binary" ? 0 : 1,
    arbitrary: junk,
  });

/** In one of `of` cases nothing, or in one of `of` cases something. */
const mostly = <T>(of: number, arbitrary: Arbitrary<T>) =>
  fc.oneof({ weight: of - 1, arbitrary }, { weight: 1, arbitrary: fc.constant(null) });
const rarely = <T>(of: number, arbitrary: Arbitrary<T>) =>
  fc.oneof({ weight: of - 1, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });

/** A form as its parts: few are left out that must be there, most that may be. */
function formOf({ properties = {}, required = [], oneOf }: Schema): Arbitrary<[string, Value][]> {
  if (oneOf) {
    return fc.constantFrom(...oneOf).chain((one) => {
      const sure = Object.fromEntries(Object.entries(one.properties).filter(([, schema]) => schema !== false));
      const kept = Object.entries({ ...properties, ...sure as Record<string, Schema> }).filter(([name]) =>
        one.properties[name] !== false
      );
      return formOf({ properties: Object.fromEntries(kept), required: [...required, ...one.required] });
    });
  }
  const parts = Object.entries(properties).map(([name, schema]) => {
    const value = required.includes(name) ? mostly(20, valueOf(schema)) : rarely(8, valueOf(schema));
    return value.map((value) => [name, value] as const);
  });
  const name = fc.oneof(junk, fc.constantFrom("steps", "structure", "image", "photo"));
  const more = rarely(8, fc.array(fc.tuple(name, fc.oneof(junk, file)), { maxLength: 2 }));
  return fc.tuple(fc.tuple(...parts), more).map(([known, unknown]) =>
    [...known, ...unknown ?? []].filter((part): part is [string, Value] => part[1] !== null)
  );
}

interface Sent {
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
  readonly values: Readonly<Record<string, string | null>>;
  readonly form: readonly [string, Value][] | null;
  /** Where the body is cut off, and a byte of it changed. */
  readonly damage: { readonly length: number; readonly at: number; readonly byte: number } | null;
  readonly accept: string | null;
  readonly ids: number;
}

/** How often a method is tried. */
const often: Readonly<Record<string, readonly string[]>> = {
  get: ["GET", "GET", "HEAD"],
  delete: ["DELETE"],
  post: Array<string>(6).fill("POST"),
};

function requestOf({ paths }: Document): Arbitrary<Sent> {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, operation]) =>
      (often[method] ?? []).map((name) => ({
        path,
        method: name,
        operation,
      }))
    )
  );
  const accept = fc.oneof(
    { weight: 6, arbitrary: fc.constant(null) },
    fc.constantFrom("image/webp", "image/*;q=0.5, application/json", "text/html", "*/*;q=0", ";;q=,", "image/png;q=x"),
  );
  return fc.constantFrom(...operations).chain(({ path, method, operation }) => {
    const values = Object.fromEntries((operation.parameters ?? []).map(({ name, in: place, schema }) => {
      const value = fc.oneof({ weight: 4, arbitrary: goodOf(schema) }, junk).map(String);
      return [name, rarely(place === "path" ? 6 : 3, value)];
    }));
    const schema = operation.requestBody?.content["multipart/form-data"].schema;
    const damage = fc.record({ length: fc.nat(3000), at: fc.nat(3000), byte: fc.nat(255) });
    return fc.record({
      path: fc.constant(path),
      method: fc.constant(method),
      operation: fc.constant(operation),
      values: fc.record(values),
      form: schema === undefined ? fc.constant(null) : formOf(schema),
      damage: rarely(8, damage),
      accept,
      ids: fc.nat(),
    });
  });
}

async function bodyOf({ form, damage }: Sent): Promise<{ body?: Uint8Array<ArrayBuffer>; type?: string }> {
  if (form === null) return {};
  const data = new FormData();
  for (const [name, value] of form) {
    if (typeof value === "string") data.append(name, value);
    else data.append(name, new Blob([value]), "picture.png");
  }
  const encoded = new Response(data);
  const type = encoded.headers.get("content-type")!;
  const body = (await encoded.bytes()).slice(0, damage?.length);
  if (damage !== null && damage.at < body.length) body[damage.at] = damage.byte;
  return { body, type };
}

/** Sends the request; a path parameter that is left open is the id of a job that is there. */
async function send({ ask, ledger }: Theatre, sent: Sent): Promise<Response> {
  const { path, method, operation, values, accept } = sent;
  const known = ledger.list({ limit: 20 }).map(({ job }) => job.id);
  const query = new URLSearchParams();
  const headers = new Headers(accept === null ? {} : { accept });
  let address = path;
  for (const { name, in: place } of operation.parameters ?? []) {
    const value = values[name];
    if (place === "path") {
      address = address.replace(`{${name}}`, encodeURIComponent(value || (known[sent.ids % known.length] ?? "x")));
    } else if (value !== null && place === "query") query.set(name, value);
    else if (value !== null && /^[\x20-\x7e]*$/.test(value)) headers.set(name, value);
  }
  const { body, type } = await bodyOf(sent);
  if (type !== undefined) headers.set("content-type", type);
  return await ask(`${address}?${query}`, { method, headers, ...(body && { body }) });
}

/** Ends each job as soon as it is queued: two in three with a picture. The returned function waits for the last. */
function workAway({ ledger, worker }: Theatre): () => Promise<void> {
  let done = Promise.resolve();
  let ended = 0;
  async function work(): Promise<void> {
    if (ledger.counts().queued === 0) return;
    const id = worker.start();
    worker.step(id, 1);
    await worker.preview(id, 1);
    if (++ended % 3 === 0) worker.fail(id, "untrainable", "Cannot train: the pair is of one colour");
    else await worker.succeed(id);
  }
  const forget = ledger.onChange((id) => {
    if (id !== null && ledger.get(id)?.job.status === "queued") done = done.then(work);
  });
  return () => {
    forget();
    return done;
  };
}

Deno.test(`fuzz: ${requests} requests made from the OpenAPI document get what it promises`, () =>
  onStage({ queue: 1000 }, async (theatre) => {
    const document: Document = await (await theatre.ask("/openapi.json")).json();
    const formats = {
      "date-time": /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/,
      binary: true,
      uri: URL.canParse,
    } as const;
    const ajv = new Ajv2020({ strict: false, formats });
    ajv.addSchema({ ...document, $id: "splice" });
    const stopWorking = workAway(theatre);
    await queued(theatre);
    await theatre.ask("/v1/jobs", { method: "POST", body: inversionForm() });
    const validators = new Map<string, ReturnType<typeof ajv.compile>>();
    const seen = new Map<string, number>();

    function conforms(sent: Sent, { response, body }: { response: Response; body: Uint8Array<ArrayBuffer> }): void {
      const { operation, method, path } = sent;
      const where = `${method} ${path} answered ${response.status}: ${new TextDecoder().decode(body).slice(0, 300)}`;
      assert.ok(response.status < 500 || response.status === 503, where);
      const promised = operation.responses[response.status];
      assert.ok(promised, `${where}, which is not documented`);
      for (const key of [`${path} ${response.status}`, `${response.status}`]) seen.set(key, (seen.get(key) ?? 0) + 1);
      if (method === "HEAD" || promised.content === undefined) return assert.equal(body.length, 0, where);
      const type = response.headers.get("content-type")!.split(";")[0];
      assert.ok(promised.content[type], `${where}, as ${type}`);
      assert.ok(body.length > 0, where);
      if (!type.endsWith("json")) return;
      const text = JSON.stringify(promised.content[type].schema).replaceAll('"#/', '"splice#/');
      const validate = validators.get(text) ?? ajv.compile(JSON.parse(text));
      validators.set(text, validate);
      assert.ok(validate(JSON.parse(new TextDecoder().decode(body))), `${where}: ${ajv.errorsText(validate.errors)}`);
    }

    try {
      await fc.assert(
        fc.asyncProperty(requestOf(document), async (sent) => {
          const response = await send(theatre, sent);
          conforms(sent, { response, body: await response.bytes() });
        }),
        { numRuns: requests },
      );
    } finally {
      await stopWorking();
    }
    assert.deepEqual(theatre.uploads(), []);
    // It would mean little if most had been refused, or none.
    for (const path of Object.keys(document.paths)) {
      assert.ok([...seen.keys()].some((key) => key.startsWith(`${path} 2`)), `${path} never succeeded`);
    }
    for (const status of ["400", "404", "406", "409", "415", "422"]) assert.ok(seen.get(status)! > 5, `few ${status}`);
    assert.ok(theatre.records.every(({ what }) => what !== "error"));
  }));
