#!/usr/bin/env bash
# @nats-io/obj 3.4.0: the stream that `get` of the object store returns knows no back pressure, and each `get` leaves its consumer behind.
# - A reader that takes one piece and then waits (as one that writes to a slow network does) has the whole object in its own memory within seconds (seen with 16 and 32 MB): all of it is sent
#   and queued in the ReadableStream, whose source has no `pull`; one can read it to its end with the connection closed. `cancel()` stops it.
# - An object that was read to its end leaves its ephemeral push consumer on the server until the 5 minutes of `inactive_threshold` are over, since the client deletes none: a program that
#   reads 10 objects a second would have 3,000 of them there.
#
# Seen with one nats-server 2.9.10 (Debian 12), Node 20:
#   3 objects read to their ends: 3 consumers are left, for 300 s
#   1 piece of 131072 bytes taken, then none: 16777216 of 16777216 bytes have come
#   read on with the connection closed: 16777216 bytes, as they were put
#
# Needs Debian 12 with its package lists, node 20 and npm; installs into a temporary folder. Exit 0: as described; 1: it has changed.
set -euo pipefail
folder=$(mktemp -d) server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" || true; fi; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --ignore-scripts --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/obj@3.4.0 >&2
apt-get -o APT::Sandbox::User=root download nats-server=2.9.10-1+b3 >&2
dpkg-deb -x nats-server_*.deb .
usr/sbin/nats-server -a 127.0.0.1 -p -1 -js -sd store --ports_file_dir . -l log & server=$!
for _ in {1..100}; do [ -s "nats-server_$server.ports" ] && break; sleep 0.1; done
cat >look.mjs <<'JS'
import { connect } from "@nats-io/transport-node";
import { jetstreamManager } from "@nats-io/jetstream";
import { Objm } from "@nats-io/obj";

const connection = await connect({ servers: process.argv[2] });
const manager = await jetstreamManager(connection);
const store = await new Objm(connection).create("shelf");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const object = Buffer.alloc(16 * 2 ** 20, "All of this is wanted, but not at once. ");
await store.putBlob({ name: "small" }, object.subarray(0, 1000));
await store.putBlob({ name: "large" }, object);

for (let i = 0; i < 3; i++) {
  const { data, error } = await store.get("small");
  let bytes = 0;
  for await (const piece of data) bytes += piece.length;
  if (bytes !== 1000 || await error) throw new Error("The small object did not come whole");
}
await pause(2000);
const thresholds = [];
for await (const { config } of manager.consumers.list("OBJ_shelf")) thresholds.push(config.inactive_threshold / 1e9);
console.log(`3 objects read to their ends: ${thresholds.length} consumers are left, for ${[...new Set(thresholds)].join(" or ")} s`);

const before = connection.stats().inBytes;
const come = () => Math.min(connection.stats().inBytes - before, object.length); // the protocol's own bytes come on top
const reader = (await store.get("large")).data.getReader();
const pieces = [(await reader.read()).value];
for (let i = 0; i < 40 && come() < object.length; i++) await pause(500);
await pause(500);
console.log(`1 piece of ${pieces[0].length} bytes taken, then none: ${come()} of ${object.length} bytes have come`);
await connection.close();
if (come() < object.length) process.exit(1);
for (let next; !(next = await reader.read()).done;) pieces.push(next.value);
const whole = Buffer.concat(pieces);
console.log(`read on with the connection closed: ${whole.length} bytes, ${whole.equals(object) ? "as they were put" : "other ones"}`);
JS
usr/sbin/nats-server --version
node look.mjs "$(node -p 'JSON.parse(fs.readFileSync(process.argv[1])).nats[0]' "nats-server_$server.ports")" | tee seen.txt || true
cat >expected.txt <<'TXT'
3 objects read to their ends: 3 consumers are left, for 300 s
1 piece of 131072 bytes taken, then none: 16777216 of 16777216 bytes have come
read on with the connection closed: 16777216 bytes, as they were put
TXT
if cmp -s seen.txt expected.txt; then
  echo "as described"
else
  echo "CHANGED: this was expected:"
  cat expected.txt
  exit 1
fi
