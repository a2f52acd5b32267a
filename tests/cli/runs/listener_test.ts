/** The server's socket where there is no room for another connection: it comes back when there is. */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { linesOf } from "../../../src/jobs/workers/channel.ts";

const program = fileURLToPath(new URL("../../support/cli/limited_listener.ts", import.meta.url));

Deno.test("listener: out of file descriptors it gives up no more than the connections it cannot have", async () => {
  const command = `ulimit -n 100; exec "$0" run --no-prompt --no-lock --allow-net=127.0.0.1 "${program}"`;
  const process = new Deno.Command("sh", {
    args: ["-c", command, Deno.execPath()],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [said, logged] = [linesOf(process.stdout), linesOf(process.stderr)];
  const port = Number((await said.next()).value);
  const connections: Deno.Conn[] = [];
  for (let refused = false; !refused && connections.length < 120;) {
    const next = await Deno.connect({ hostname: "127.0.0.1", port }).catch(() => null);
    if (next) connections.push(next);
    refused = next === null; // it has given up listening
  }
  let line = await logged.next();
  while (!line.done && !/trying again/.test(line.value)) line = await logged.next();
  assert.match(line.value ?? "", /listening ended .*too many open files/i);
  for (const connection of connections) connection.close();
  const ask = () => fetch(`http://127.0.0.1:${port}/`).then((response) => response.text(), () => null);
  let answer = await ask();
  while (answer === null) answer = await ask(); // refused until it listens again
  assert.equal(answer, "here");
  await process.stdin.close();
  await Promise.all([Array.fromAsync(said), Array.fromAsync(logged)]);
  assert.equal((await process.status).code, 0);
});
