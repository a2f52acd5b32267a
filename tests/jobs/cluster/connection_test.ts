/** The way into a cluster: what is wrong is told in one line, and a connection comes back by itself. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { nkeys } from "@nats-io/nats-core";
import {
  checkCredentials,
  connectCluster,
  type Credentials,
  parseAddresses,
} from "../../../src/jobs/cluster/connection.ts";
import { ensureStreams, namesOf } from "../../../src/jobs/cluster/streams.ts";
import { natsTest } from "../../support/nats.ts";

const connect = (address: string, credentials: Credentials = {}) =>
  connectCluster({ addresses: parseAddresses(address), credentials, ca: null, name: "test", log: () => {} });

Deno.test("cluster addresses: as they are written", () => {
  assert.deepEqual(parseAddresses("nats://a:4222, nats://b"), {
    servers: ["a:4222", "b:4222"],
    tls: false,
    credentials: {},
  });
  assert.deepEqual(parseAddresses("10.0.0.1:5000").servers, ["10.0.0.1:5000"]);
  assert.deepEqual(parseAddresses("tls://[::1]:1").servers, ["[::1]:1"]);
  assert.deepEqual(parseAddresses("tls://u:p%40@a").credentials, { user: "u", password: "p@" });
  assert.deepEqual(parseAddresses("tls://u:50%@a").credentials, { user: "u", password: "50%" });
  assert.equal(parseAddresses("nats://a,tls://b").tls, true);
  assert.deepEqual(parseAddresses("nats://secret@a:1").credentials, { token: "secret" });
  for (const wrong of ["", "http://a", "nats://", "nats://a/b", "nats://a:99999", "a,,b"]) {
    assert.throws(() => parseAddresses(wrong), /it must be a server's, nats:\/\/host:4222/, wrong);
  }
  assert.throws(() => parseAddresses("http://me:secret@a"), (error: Error) => !error.message.includes("secret"));
});

Deno.test("cluster: a namespace makes names, and only plain ones", () => {
  const names = namesOf("film-2");
  assert.equal(names.streams.jobs, "FILM-2_JOBS");
  assert.equal(names.file("x", ">"), "film-2.files.x.>");
  for (const wrong of ["", "2", "A", "a.b", "a*", "x".repeat(40)]) {
    assert.throws(() => namesOf(wrong), /must be up to 32 small letters/, wrong);
  }
});

Deno.test("cluster: nobody there, and somebody else there", async () => {
  await assert.rejects(
    connect("nats://127.0.0.1:1"),
    /Cannot connect to the cluster at 127.0.0.1:1: .*is nats-server running there/,
  );
  using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const answering = (async () => {
    const conn = await other.accept();
    await conn.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await conn.read(new Uint8Array(1));
    conn.close();
  })();
  await assert.rejects(connect(`nats://127.0.0.1:${other.addr.port}`), /what answers there is no NATS server/);
  await answering;
});

const users = "authorization { users: [ { user: u, password: p } ] }";
natsTest(
  "cluster: wrong credentials are told, right ones are found in the address too",
  { config: users },
  async (nats) => {
    const [{ address }] = nats.servers;
    for (let i = 0; i < 20; i++) {
      await assert.rejects(
        connect(address, { user: "u", password: "q" }),
        /it refuses the credentials; check --cluster-cred/,
      );
    }
    await assert.rejects(connect(address), /it refuses the credentials/);
    const connections = [
      await connect(address, { user: "u", password: "p" }),
      await connect(address.replace("//", "//u:p@")),
      await connect(address.replace("//", "//u:wrong@"), { user: "u", password: "p" }),
    ];
    for (const connection of connections) await connection.close();
  },
);

natsTest("cluster: a server without JetStream, and one that is alone", { jetstream: false }, async (nats) => {
  await assert.rejects(connect(nats.addresses), /JetStream is not enabled, .* start nats-server with -js/);
});

natsTest("cluster: streams that cannot be made say why", { maxFile: "8M" }, async (nats) => {
  const connection = await connect(nats.addresses);
  try {
    await assert.rejects(
      ensureStreams(connection, namesOf("splice"), 3),
      /need a cluster of 3 servers, and this server stands/,
    );
    await ensureStreams(connection, namesOf("splice"), 1);
    await ensureStreams(connection, namesOf("splice"), 1);
    await ensureStreams(connection, namesOf("other"), 1);
    await connection.manager.streams.add({ name: "THEIRS", subjects: ["theirs.>"] });
    await assert.rejects(
      ensureStreams(connection, namesOf("theirs"), 1),
      /somebody else listens .* another --namespace/,
    );
  } finally {
    await connection.close();
  }
});

natsTest("cluster: a connection comes back when its server does", {}, async (nats) => {
  const said: string[] = [];
  const connection = await connectCluster({
    addresses: parseAddresses(nats.addresses),
    credentials: {},
    ca: null,
    name: "test",
    log: (text) => said.push(text),
  });
  try {
    await nats.servers[0].end();
    while (connection.connected()) await new Promise((resolve) => setTimeout(resolve, 10));
    await nats.servers[0].start();
    while (!connection.connected()) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal((await connection.manager.getAccountInfo()).streams, 0);
    assert.match(
      said.join("|"),
      /^The connection to .* broke; trying to come back\|Connected to the cluster again, at 127[^|]*$/,
    );
  } finally {
    await connection.close();
  }
});

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/tls/${name}.pem`, import.meta.url));
const tls = `tls { cert_file: "${fixture("loopback")}", key_file: "${fixture("loopback_key")}" }`;
natsTest("cluster: TLS, and only with a certificate that is trusted", { config: tls }, async (nats) => {
  const authority = await Deno.readTextFile(fixture("loopback_authority"));
  const secure = nats.addresses.replace("nats:", "tls:");
  const join = (address: string, ca: string | null) =>
    connectCluster({ addresses: parseAddresses(address), credentials: {}, ca, name: "test", log: () => {} });
  for (const address of [secure, nats.addresses]) {
    const connection = await join(address, authority);
    assert.equal(connection.nats.info?.tls_required, true);
    await connection.close();
    await assert.rejects(join(address, null), /its certificate is not accepted .* with --cluster-ca/);
  }
});

natsTest("cluster: a server without TLS is not spoken to in the clear where TLS is asked for", {}, async (nats) => {
  await assert.rejects(connect(nats.addresses.replace("nats:", "tls:")), /it offers no TLS; use nats:/);
});

const user = nkeys.createUser();
const nkeyOnly = `authorization { users: [ { nkey: ${user.getPublicKey()} } ] }`;
natsTest("cluster: an nkey", { config: nkeyOnly }, async (nats) => {
  const seed = new TextDecoder().decode(user.getSeed());
  await (await connect(nats.addresses, { nkey: `${seed}\n` })).close();
  const other = new TextDecoder().decode(nkeys.createUser().getSeed());
  await assert.rejects(connect(nats.addresses, { nkey: other }), /it refuses the credentials/);
  await assert.rejects(connect(nats.addresses, { nkey: "SUWRONG" }), /it is no seed of an nkey/);
  assert.throws(() => checkCredentials({ nkey: "SUWRONG" }), /it is no seed of an nkey/, "without any server");
});

natsTest("cluster: a token, alone and in the address", { config: "authorization { token: t }" }, async (nats) => {
  await (await connect(nats.addresses, { token: "t" })).close();
  await (await connect(nats.addresses.replace("//", "//t@"))).close();
  await assert.rejects(connect(nats.addresses, { token: "u" }), /it refuses the credentials/);
});

const jwtOf = (claims: Record<string, unknown>, signer: { sign(bytes: Uint8Array): Uint8Array }) => {
  const part = (value: unknown) => base64url(new TextEncoder().encode(JSON.stringify(value)));
  const text = `${part({ typ: "JWT", alg: "ed25519-nkey" })}.${part(claims)}`;
  return `${text}.${base64url(signer.sign(new TextEncoder().encode(text)))}`;
};
const base64url = (bytes: Uint8Array) => bytes.toBase64({ alphabet: "base64url", omitPadding: true });
const [operator, account, system] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()];
const claims = (of: typeof user, by: typeof user, nats: Record<string, unknown>) => ({
  jti: crypto.randomUUID(),
  iat: 1_700_000_000,
  iss: by.getPublicKey(),
  sub: of.getPublicKey(),
  name: "test",
  nats: { version: 2, ...nats },
});
const unlimited = { subs: -1, data: -1, payload: -1, conn: -1, leaf: -1, imports: -1, exports: -1, wildcards: true };
const room = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
const systemJwt = jwtOf(claims(system, operator, { type: "account", limits: unlimited }), operator);
const operatorJwt = jwtOf(claims(operator, operator, { type: "operator" }), operator);
const accountJwt = jwtOf(claims(account, operator, { type: "account", limits: { ...unlimited, ...room } }), operator);
const userJwt = jwtOf(
  claims(user, account, { type: "user", pub: {}, sub: {}, subs: -1, data: -1, payload: -1 }),
  account,
);
const jwts = `operator: ${operatorJwt}
resolver: MEMORY
system_account: ${system.getPublicKey()}
resolver_preload: { ${account.getPublicKey()}: ${accountJwt}, ${system.getPublicKey()}: ${systemJwt} }`;
natsTest("cluster: a credentials file", { config: jwts }, async (nats) => {
  const seed = new TextDecoder().decode(user.getSeed());
  const creds = `-----BEGIN NATS USER JWT-----
${userJwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
${seed}
------END USER NKEY SEED------
`;
  const connection = await connect(nats.addresses, { creds });
  await ensureStreams(connection, namesOf("splice"), 1);
  await connection.close();
  await assert.rejects(
    connect(nats.addresses, { creds: creds.replace(/^S.*$/m, "") }),
    /it is no credentials file of a user/,
  );
});
