#!/usr/bin/env bash
# nats-server 2.9.10 (Debian 12): a purge with a subject filter makes a durable pull consumer of the whole stream pass over every message that it has not handed out yet, also those that the
# filter does not name, and even if it names none at all (`purged: 0`). The messages stay, can be read by sequence, and count in the stream's state; the consumer says that 0 are pending and
# `next()` finds nothing, while what is published afterwards comes as usual. In a work queue they lie there until someone removes them. Deleting the same message by its sequence does no such thing.
#
# Seen with one server, file storage, a work queue of five messages of which one was handed out and acknowledged, @nats-io/jetstream 3.4.0 on Node 20 (streams of "limits" do the same):
#   nothing is removed: handed out 1 2 3 4, left over in the stream: none
#   a message is deleted by sequence: handed out 1 2 3, left over in the stream: none
#   a purge whose filter matches one message: handed out none, left over in the stream: 1 2 3; one more that is published: handed out
#   a purge whose filter matches nothing: handed out none, left over in the stream: 1 2 3 4; one more that is published: handed out
# A fix of February 2023 in the server (PR 3838) names the same; later servers were not run here.
#
# Needs Debian 12 with its package lists, node 20 and npm; installs into a temporary folder. Exit 0: as described; 1: it has changed.
set -euo pipefail
folder=$(mktemp -d) server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" || true; fi; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --ignore-scripts --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 >&2
apt-get -o APT::Sandbox::User=root download nats-server=2.9.10-1+b3 >&2
dpkg-deb -x nats-server_*.deb .
usr/sbin/nats-server -a 127.0.0.1 -p -1 -js -sd store --ports_file_dir . -l log & server=$!
for _ in {1..100}; do [ -s "nats-server_$server.ports" ] && break; sleep 0.1; done
cat >look.mjs <<'JS'
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy } from "@nats-io/jetstream";

const connection = await connect({ servers: process.argv[2] });
const [manager, client] = [await jetstreamManager(connection), jetstream(connection)];
const words = (list) => list.join(" ") || "none";

/** A queue of 0 to 4, the last on a subject of its own; 0 is done, then `act` removes something; what does the consumer still hand out? */
async function look(title, name, act) {
  await manager.streams.add({ name, subjects: [`${name}.*`], retention: RetentionPolicy.Workqueue });
  await manager.consumers.add(name, { durable_name: "worker", ack_policy: AckPolicy.Explicit });
  const consumer = await client.consumers.get(name, "worker");
  const take = async () => {
    const message = await consumer.next({ expires: 1500 });
    if (message !== null && !await message.ackAck()) throw new Error("The acknowledgement was not confirmed");
    return message?.string() ?? null;
  };
  for (let i = 0; i < 5; i++) await client.publish(`${name}.${i < 4 ? "many" : "one"}`, `${i}`);
  if (await take() !== "0") throw new Error("The first message did not come");
  await act();
  const [came, left] = [[], []];
  for (let text; (text = await take()) !== null;) came.push(text);
  for (let seq = 1; seq <= 5; seq++) {
    const message = await manager.streams.getMessage(name, { seq }).catch(() => null);
    if (message !== null) left.push(message.string());
  }
  let line = `${title}: handed out ${words(came)}, left over in the stream: ${words(left)}`;
  if (left.length > 0) {
    const { num_pending } = await consumer.info();
    if (num_pending !== 0) line += ` (${num_pending} pending)`;
    await client.publish(`${name}.many`, "5");
    line += `; one more that is published: ${await take() === "5" ? "handed out" : "not handed out"}`;
  }
  console.log(line);
}

await look("nothing is removed", "A", () => {});
await look("a message is deleted by sequence", "B", () => manager.streams.deleteMessage("B", 5));
await look("a purge whose filter matches one message", "C", async () => {
  if ((await manager.streams.purge("C", { filter: "C.one" })).purged !== 1) throw new Error("One message was to be purged");
});
await look("a purge whose filter matches nothing", "D", async () => {
  if ((await manager.streams.purge("D", { filter: "D.other" })).purged !== 0) throw new Error("No message was to be purged");
});
await connection.close();
JS
usr/sbin/nats-server --version
node look.mjs "$(node -p 'JSON.parse(fs.readFileSync(process.argv[1])).nats[0]' "nats-server_$server.ports")" | tee seen.txt || true
cat >expected.txt <<'TXT'
nothing is removed: handed out 1 2 3 4, left over in the stream: none
a message is deleted by sequence: handed out 1 2 3, left over in the stream: none
a purge whose filter matches one message: handed out none, left over in the stream: 1 2 3; one more that is published: handed out
a purge whose filter matches nothing: handed out none, left over in the stream: 1 2 3 4; one more that is published: handed out
TXT
if cmp -s seen.txt expected.txt; then
  echo "as described"
else
  echo "CHANGED: this was expected:"
  cat expected.txt
  exit 1
fi
