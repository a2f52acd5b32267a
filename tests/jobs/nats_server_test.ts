/** The servers that other tests use: that they are what those take them for. */
import assert from "node:assert/strict";
import { natsTest } from "../support/nats.ts";

/** Asks as a client that knows nothing but the protocol's words: does the server answer within a second? */
async function answers(address: string): Promise<boolean> {
  const { hostname, port } = new URL(address);
  let connection: Deno.TcpConn;
  try {
    connection = await Deno.connect({ hostname, port: Number(port) });
  } catch {
    return false;
  }
  const late = setTimeout(() => connection.close(), 1000);
  try {
    await connection.write(new TextEncoder().encode('CONNECT {"verbose":false}\r\nPING\r\n'));
    let heard = "";
    const buffer = new Uint8Array(65536);
    while (!heard.includes("PONG")) {
      const count = await connection.read(buffer);
      if (count === null) return false;
      heard += new TextDecoder().decode(buffer.subarray(0, count));
    }
    connection.close();
    return true;
  } catch {
    return false;
  } finally {
    clearTimeout(late);
  }
}

natsTest("nats-server: one can be killed, frozen and started again", {}, async (nats) => {
  const [server] = nats.servers;
  assert.equal(nats.addresses, server.address);
  assert.equal(await answers(server.address), true);
  await server.freeze();
  assert.equal(await answers(server.address), false);
  server.thaw();
  assert.equal(await answers(server.address), true);
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await server.end(signal);
    assert.equal(await answers(server.address), false);
    await server.start();
    await nats.settled();
    assert.equal(await answers(server.address), true);
  }
  assert.equal(await nats.leader("NONE"), null);
});

natsTest("nats-server: what else is asked of its configuration counts", {
  jetstream: false,
  config: "authorization { token: secret }",
}, async ({ servers: [server] }) => {
  assert.match(await server.log(), /Server is ready/);
  assert.doesNotMatch(await server.log(), /JetStream/);
});

natsTest("nats-server: three agree on a leader, and on another when it is killed", { servers: 3 }, async (nats) => {
  const first = await nats.leader(null);
  assert.ok(first !== null && nats.servers.includes(first));
  await first.end();
  await nats.settled();
  const second = await nats.leader(null);
  assert.ok(second !== null && second !== first);
  await first.start();
  await nats.settled();
  assert.equal(await answers(first.address), true);
});
