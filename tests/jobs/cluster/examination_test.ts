/** What doctor says of a cluster: one line each, and what to do. */
import assert from "node:assert/strict";
import { parseAddresses } from "../../../src/jobs/cluster/connection.ts";
import { examineCluster } from "../../../src/jobs/cluster/examination.ts";
import { join, until } from "../../support/jobs/cluster.ts";
import { type Nats, natsTest } from "../../support/nats.ts";

const examine = async (addresses: string, replicas: 1 | 3 = 1) => {
  const where = parseAddresses(addresses);
  const found = await examineCluster({ addresses: where, credentials: {}, ca: null, namespace: "splice", replicas });
  return found.map(({ verdict, text, remedy }) => `${verdict} ${text}${remedy ? ` -> ${remedy}` : ""}`).join("\n");
};
const subjects = async (nats: Nats) => {
  await using node = await join(nats);
  return (await node.connection.manager.getAccountInfo()).streams;
};

natsTest("doctor: one server, before and after the streams are made", {}, async (nats) => {
  const [{ address }] = nats.servers;
  const before = await examine(`${address},nats://127.0.0.1:1`);
  assert.match(before, /^(ok|note) 127\.0\.0\.1:\d+ runs nats-server 2\.\d+\.\d+/);
  assert.match(before, /^FAIL Cannot connect to the cluster at 127\.0\.0\.1:1: .*is nats-server running there\?$/m);
  assert.match(before, /^ok JetStream is there; 0 MB are used/m);
  assert.match(before, /^ok streams of 1 replica can be made$/m);
  assert.match(await examine(address, 3), /^FAIL the streams cannot be made: 3 replicas need a cluster of 3 servers/m);
  assert.equal(await subjects(nats), 5, "nothing but those that joining makes");
  const after = await examine(address);
  assert.match(after, /^ok the streams of namespace splice: one copy of everything$/m);
  assert.match(after, /^note no GPU worker is there, so that jobs wait -> start splice work/m);
  assert.match(await examine(address, 3), /^FAIL SPLICE_JOBS has been made with --replicas 1 -> use that, or another/m);
});

natsTest("doctor: three servers, one of which is away", { servers: 3 }, async (nats) => {
  assert.equal(await subjects(nats), 5);
  assert.match(
    await examine(nats.addresses, 3),
    /^ok the streams of namespace splice: 3 copies of everything, all up to date$/m,
  );
  await nats.servers[2].end();
  const away = /^note SPLICE_\w+: n2 lag behind or are away -> one more that fails, and nothing can be written$/m;
  await until(async () => away.test(await examine(nats.servers[0].address, 3)), 30_000); // once the others have noticed
});

natsTest("doctor: nobody lets it in", { config: "authorization { token: t }" }, async (nats) => {
  assert.match(await examine(nats.addresses), /^FAIL Cannot connect to .*: it refuses the credentials; check [^\n]*$/);
});
