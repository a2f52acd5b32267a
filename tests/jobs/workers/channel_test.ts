/** Messages over a pipe: whole ones arrive in order, however the bytes are cut; strangers' text and half messages harm nothing. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { frame, linesOf, messagesOf } from "../../../src/jobs/workers/channel.ts";
import { fromWorkerSchema, toWorkerSchema } from "../../../src/jobs/model/messages.ts";

/** A pipe that gives these bytes in pieces of these lengths. */
function pipe(bytes: Uint8Array<ArrayBuffer>, lengths: readonly number[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(function* () {
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const length = lengths.length > 0 ? lengths[i % lengths.length] : bytes.length;
      yield bytes.slice(at, at += length);
    }
  }());
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

const text = (value: string) => new TextEncoder().encode(value);

Deno.test("channel: messages arrive in order, however the pipe cuts them, among whatever else is printed", async () => {
  // deno-lint-ignore no-control-regex
  const noise = fc.string({ unit: "grapheme" }).filter((line) => !/[\n\x1e\r]/.test(line) && line.trim() !== "");
  const step = fc.oneof(
    fc.record({ say: fc.constant("preview" as const), job: fc.string({ unit: "grapheme" }), step: fc.nat() }, {
      noNullPrototype: true,
    }),
    noise.map((line) => ({ noise: line })),
  );
  const lengths = fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 5 });
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 12 }), lengths, async (steps, lengths) => {
    const bytes = joined(steps.map((step) => "noise" in step ? text(`${step.noise}\n`) : frame(step)));
    const strays: string[] = [];
    const heard = [];
    const options = { schema: fromWorkerSchema, onStray: (line: string) => void strays.push(line) };
    for await (const message of messagesOf(pipe(bytes, lengths), options)) heard.push(message);
    assert.deepEqual(heard, steps.filter((step) => "say" in step));
    assert.deepEqual(strays, steps.flatMap((step) => "noise" in step ? [step.noise] : []));
  }));
});

Deno.test("channel: a driver's text without its line feed does not swallow the message after it", async () => {
  const bytes = joined([
    text("MESA: warning"),
    frame({ say: "stop" }),
    text('\x1e{"say":"run","jo'),
    frame({ say: "stop" }),
  ]);
  const strays: string[] = [];
  const heard = [];
  const options = { schema: toWorkerSchema, onStray: (line: string) => void strays.push(line) };
  for await (const message of messagesOf(pipe(bytes, []), options)) heard.push(message);
  assert.deepEqual(heard, [{ say: "stop" }, { say: "stop" }]);
  assert.deepEqual(strays, ["MESA: warning", '\x1e{"say":"run","jo']);
});

Deno.test("channel: what is no message of ours is told as a stray, not handed on", async () => {
  const bytes = joined([frame({ say: "explode" }), frame({ say: "cancel", job: 7 }), frame(null)]);
  const strays: string[] = [];
  const options = { schema: toWorkerSchema, onStray: (line: string) => void strays.push(line) };
  for await (const message of messagesOf(pipe(bytes, [3]), options)) assert.fail(JSON.stringify(message));
  assert.equal(strays.length, 3);
});

Deno.test("channel: a line without an end does not grow without bounds", async () => {
  const lines = [];
  const block = text("x".repeat(1 << 18));
  const endless = ReadableStream.from(function* () {
    for (let i = 0; i < 40; i++) yield block;
  }());
  for await (const line of linesOf(endless)) lines.push(line.length);
  assert.deepEqual(lines, [1 << 20]);
});
