/** The server's log where nobody reads it: the server goes on, and holds no more than it may. */
import assert from "node:assert/strict";
import { writeBehind } from "../../../src/cli/terminal/server_log.ts";

/** A pipe that takes nothing until it is opened. */
function pipe() {
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  let text = "";
  return {
    open,
    text: () => text,
    async write(bytes: Uint8Array) {
      await opened;
      const some = bytes.subarray(0, 7);
      text += new TextDecoder().decode(some);
      return some.length;
    },
  };
}

Deno.test("log: lines come out whole and in order, however little is taken at a time", async () => {
  const out = pipe();
  const log = writeBehind(out);
  for (let i = 0; i < 50; i++) log.write(`line ${i}\n`);
  out.open();
  await log.flush();
  log.write("one more\n");
  await log.flush();
  assert.equal(out.text(), `${Array.from({ length: 50 }, (_, i) => `line ${i}\n`).join("")}one more\n`);
});

Deno.test("log: where nobody reads, writing does not wait, what is held is bounded, and what was lost is counted", async () => {
  const out = pipe();
  const log = writeBehind(out, 30);
  for (let i = 0; i < 1000; i++) log.write(`line ${i}\n`);
  await log.flush(); // nobody reads: it gives up waiting
  assert.equal(out.text(), "");
  out.open();
  await log.flush();
  assert.match(out.text(), /^line 0\nline 1\n(line \d\n)*splice: 99\d lines of this log were lost\n$/);
});

Deno.test("log: a reader that is gone harms nothing", async () => {
  const log = writeBehind({ write: () => Promise.reject(new Deno.errors.BrokenPipe("gone")) });
  log.write("a\n");
  await log.flush();
  log.write("b\n");
  await log.flush();
});
