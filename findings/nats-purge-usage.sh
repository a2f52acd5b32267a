#!/usr/bin/env bash
# nats-server 2.9.10 (Debian 12), file storage: a purge with a subject filter removes the messages and frees the stream's bytes, but the account's `storage` goes on counting what was purged,
# even after the stream itself is deleted; only a restart of the server puts it right. With `max_file: 3MB` the 33rd message of 100 kB was refused ("insufficient resources", 10023), although
# a purge after each ten had left two of them. Deleting the same messages one by one gives the room back at once, and so do a purge without a filter, one up to a sequence (`seq`) or with `keep`,
# and a filter on a stream in memory.
#
# Seen with one server, twenty messages of 100 kB of which ten are removed, @nats-io/jetstream 3.4.0 on Node 20:
#   ten messages deleted by sequence: the stream holds 1.0 MB, the account uses 1.0 MB; the stream deleted: the account uses 0.0 MB
#   ten messages purged up to a sequence: the stream holds 1.0 MB, the account uses 1.0 MB; the stream deleted: the account uses 0.0 MB
#   ten messages purged by a filter: the stream holds 1.0 MB, the account uses 2.0 MB; the stream deleted: the account uses 1.0 MB
#   the server started again: the account uses 0.0 MB
# A fix of February 2023 in the server (PR 3876) names the same; later servers were not run here.
#
# Needs Debian 12 with its package lists, node 20 and npm; installs into a temporary folder. Exit 0: as described; 1: it has changed.
set -euo pipefail
folder=$(mktemp -d) server=
stop() { if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" || true; fi; server=; }
trap 'stop; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --ignore-scripts --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 >&2
apt-get -o APT::Sandbox::User=root download nats-server=2.9.10-1+b3 >&2
dpkg-deb -x nats-server_*.deb .
serve() { # serve: starts the server on a port that is free, and puts its address into $url
  usr/sbin/nats-server -a 127.0.0.1 -p -1 -js -sd store --ports_file_dir . -l log & server=$!
  for _ in {1..100}; do [ -s "nats-server_$server.ports" ] && break; sleep 0.1; done
  url=$(node -p 'JSON.parse(fs.readFileSync(process.argv[1])).nats[0]' "nats-server_$server.ports")
}
cat >look.mjs <<'JS'
import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";

const connection = await connect({ servers: process.argv[2] });
const [manager, client] = [await jetstreamManager(connection), jetstream(connection)];
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const used = async () => {
  await new Promise((done) => setTimeout(done, 500));
  return `the account uses ${megabytes((await manager.getAccountInfo()).storage)}`;
};

/** A stream of twenty messages, half of them on `NAME.old`; `act` removes these. */
async function look(title, name, act) {
  await manager.streams.add({ name, subjects: [`${name}.*`], storage: StorageType.File });
  for (let i = 0; i < 20; i++) await client.publish(`${name}.${i < 10 ? "old" : "new"}`, new Uint8Array(100_000));
  await act();
  const { state } = await manager.streams.info(name);
  if (state.messages !== 10) throw new Error("Ten messages were to be left");
  const line = `${title}: the stream holds ${megabytes(state.bytes)}, ${await used()}`;
  await manager.streams.delete(name);
  console.log(`${line}; the stream deleted: ${await used()}`);
}

if (process.argv[3] === "again") {
  console.log(`the server started again: ${await used()}`);
} else {
  await look("ten messages deleted by sequence", "A", async () => {
    for (let seq = 1; seq <= 10; seq++) await manager.streams.deleteMessage("A", seq);
  });
  await look("ten messages purged up to a sequence", "B", () => manager.streams.purge("B", { seq: 11 }));
  await look("ten messages purged by a filter", "C", () => manager.streams.purge("C", { filter: "C.old" }));
}
await connection.close();
JS
usr/sbin/nats-server --version
serve
node look.mjs "$url" | tee seen.txt || true
stop
serve
node look.mjs "$url" again | tee -a seen.txt || true
cat >expected.txt <<'TXT'
ten messages deleted by sequence: the stream holds 1.0 MB, the account uses 1.0 MB; the stream deleted: the account uses 0.0 MB
ten messages purged up to a sequence: the stream holds 1.0 MB, the account uses 1.0 MB; the stream deleted: the account uses 0.0 MB
ten messages purged by a filter: the stream holds 1.0 MB, the account uses 2.0 MB; the stream deleted: the account uses 1.0 MB
the server started again: the account uses 0.0 MB
TXT
if cmp -s seen.txt expected.txt; then
  echo "as described"
else
  echo "CHANGED: this was expected:"
  cat expected.txt
  exit 1
fi
