#!/usr/bin/env bash
# @nats-io/jetstream 3.4.0 with nats-server 2.9.10 (Debian 12): `message.term("why")` does not end the message. The client sends `+TERM why` to a server of any version, without a word; this
# one does not know it as an acknowledgement and ignores it as a whole, not the reason alone. After `ack_wait` the message comes again, as often as `max_deliver` allows (for ever by default), and
# in a work queue it lies there afterwards. `message.term()` works. The client's documentation says that the *reason* needs a server of 2.11; one expects no more than that to be missing.
#
# Seen with one server, a work queue, `ack_wait` of a second and `max_deliver` 3, Node 20:
#   term(): came 1 time, left in the stream: 0
#   term("not a picture"): came 3 times, left in the stream: 1
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
import { connect, nanos } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy } from "@nats-io/jetstream";

const connection = await connect({ servers: process.argv[2] });
const [manager, client] = [await jetstreamManager(connection), jetstream(connection)];

async function look(title, name, ...reason) {
  await manager.streams.add({ name, subjects: [name], retention: RetentionPolicy.Workqueue });
  await manager.consumers.add(name, { durable_name: "worker", ack_policy: AckPolicy.Explicit, ack_wait: nanos(1000), max_deliver: 3 });
  const consumer = await client.consumers.get(name, "worker");
  await client.publish(name, "work");
  let times = 0;
  for (let message; (message = await consumer.next({ expires: 4000 })) !== null; times++) message.term(...reason);
  const { state } = await manager.streams.info(name);
  console.log(`${title}: came ${times} time${times === 1 ? "" : "s"}, left in the stream: ${state.messages}`);
}

await look("term()", "A");
await look('term("not a picture")', "B", "not a picture");
await connection.close();
JS
usr/sbin/nats-server --version
node look.mjs "$(node -p 'JSON.parse(fs.readFileSync(process.argv[1])).nats[0]' "nats-server_$server.ports")" | tee seen.txt || true
cat >expected.txt <<'TXT'
term(): came 1 time, left in the stream: 0
term("not a picture"): came 3 times, left in the stream: 1
TXT
if cmp -s seen.txt expected.txt; then
  echo "as described"
else
  echo "CHANGED: this was expected:"
  cat expected.txt
  exit 1
fi
