/** Where webhooks may go, and how they are signed. */
import assert from "node:assert/strict";
import { BlockList } from "node:net";
import fc from "fast-check";
import type { Fault } from "../../../src/jobs/model/job.ts";
import { checkWebhookUrl, isPublic } from "../../../src/jobs/delivery/public_address.ts";
import { sign, verifySignature } from "../../../src/jobs/delivery/signature.ts";
import { keptSecret } from "../../../src/jobs/local/kept_secret.ts";

/** The registries of special addresses (RFC 6890 and its kin), by another implementation than the one that is tested. */
const special4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.31.196.0/24",
  "192.52.193.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "192.175.48.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
];
/** Of 2000::/3; all else is special. */
const special6 = ["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"];

const blocked = new BlockList();
for (const range of [...special4, ...special6]) {
  const [base, bits] = range.split("/");
  blocked.addSubnet(base, Number(bits), base.includes(":") ? "ipv6" : "ipv4");
}

const dotted = (value: number) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
const edges = special4.flatMap((range) => {
  const [base, bits] = range.split("/");
  const first = base.split(".").reduce((value, part) => value * 256 + Number(part), 0);
  const last = first + 2 ** (32 - Number(bits)) - 1;
  return [first - 1, first, last, last + 1].filter((value) => value >= 0 && value < 2 ** 32);
});
const anyV4 = fc.oneof(fc.constantFrom(...edges), fc.nat(0xffffffff)).map((value) => dotted(value >>> 0));
const group = fc.nat(0xffff).map((value) => value.toString(16));
const rest = fc.array(group, { minLength: 7, maxLength: 7 }).map((groups) => groups.join(":"));

Deno.test("webhook address: every IPv4 address is public or in a special range", () => {
  fc.assert(
    fc.property(anyV4, (address) => assert.equal(isPublic(address), !blocked.check(address, "ipv4"), address)),
    { numRuns: 2000 },
  );
});

Deno.test("webhook address: IPv6 is public only where it is given to people, and never stands for IPv4", () => {
  const first = fc.oneof(
    group,
    fc.constantFrom("2001", "2002", "3fff", "2620", "fe80", "fec0", "fd00", "ff02", "64", "0"),
  );
  fc.assert(
    fc.property(first, rest, (head, tail) => {
      const address = `${head}:${tail}`;
      const value = parseInt(head, 16);
      const expected = value >= 0x2000 && value < 0x4000 && !blocked.check(address, "ipv6");
      assert.equal(isPublic(address), expected, address);
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(anyV4, fc.constantFrom("::ffff:", "::", "64:ff9b::", "64:ff9b:1::", "::ffff:0:"), (address, prefix) => {
      assert.equal(isPublic(`${prefix}${address}`), false);
    }),
  );
  for (const address of ["2606:4700::1111", "2a00:1450:4001:81b::200e"]) assert.equal(isPublic(address), true);
  for (const address of ["::", "::1", "fe80::1%eth0", "2001:0:7f00:1::", "2002:7f00:1::", "fd12::1", "ff02::1"]) {
    assert.equal(isPublic(address), false, address);
  }
});

Deno.test("webhook address: what is no address is not public", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    if (!/^[0-9a-fA-FxX.:%]+$/.test(text)) assert.equal(isPublic(text), false);
  }));
  for (const text of ["", "localhost", "8.8.8.8 ", "8.8.8.8/32", "[::1]"]) assert.equal(isPublic(text), false, text);
});

function refusal(url: string, allowPrivate = false): string | null {
  try {
    checkWebhookUrl(url, { allowPrivate });
    return null;
  } catch (error) {
    const { code, errors, message } = error as Fault;
    assert.deepEqual([code, errors], ["invalid_options", [{ field: "webhook_url", message }]]);
    assert.match(message, /^Cannot use webhook_url = "/);
    return message;
  }
}

Deno.test("webhook address: what can be refused when a job is created", () => {
  for (const url of ["https://example.org/hook?x=1", "http://93.184.216.34:8080/", "https://[2606:4700::1111]/"]) {
    assert.equal(refusal(url), null);
  }
  for (
    const url of ["", "example.org", "/hook", "ftp://example.org/", "file:///etc/passwd", "javascript:1", "https://"]
  ) {
    assert.match(refusal(url)!, /must be an address that begins with https:\/\/ or http:\/\//, url);
  }
  assert.match(refusal("https://a:b@example.org/")!, /must not hold a name or password/);
  assert.match(refusal("https://a@example.org/", true)!, /must not hold a name or password/);
  assert.match(refusal(`https://example.org/${"x".repeat(3000)}`)!, /longer than 2048/);
  // Every way of writing an address becomes one.
  const inside = ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0", "10.1.2.3", "169.254.169.254"];
  const more = [
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[fd00::1]",
    "[64:ff9b::a00:1]",
    "localhost",
    "LOCALHOST.",
    "a.localhost",
  ];
  for (const host of [...inside, ...more]) {
    assert.match(refusal(`http://${host}:8080/`)!, /is not a public address, and this server calls/, host);
    assert.equal(refusal(`http://${host}:8080/`, true), null, host);
  }
});

Deno.test("webhook signature: of this body, this secret and not long ago", () => {
  fc.assert(fc.property(fc.string(), fc.string({ unit: "grapheme" }), fc.nat(2e9), (secret, body, at) => {
    const signature = sign(secret, { body, at });
    assert.match(signature, /^t=\d+,v1=[0-9a-f]{64}$/);
    for (const now of [at, at + 300, at - 300]) assert.ok(verifySignature(secret, { body, signature, now }));
    for (const now of [at + 301, at - 301]) assert.ok(!verifySignature(secret, { body, signature, now }));
    assert.ok(!verifySignature(`${secret}x`, { body, signature, now: at }));
    assert.ok(!verifySignature(secret, { body: `${body}x`, signature, now: at }));
    assert.ok(!verifySignature(secret, { body, signature: signature.replace(/^t=/, "t=1"), now: at }));
  }));
  for (const signature of ["", "t=1", "v1=00", "t=1,v1=zz", "t=1,v1="]) {
    assert.ok(!verifySignature("s", { body: "", signature, now: 1 }));
  }
  // HMAC-SHA256 of "1.{}" with the key "key", by another implementation.
  assert.equal(
    sign("key", { body: "{}", at: 1 }),
    "t=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224",
  );
});

Deno.test("webhook signature: the secret is made once, for this user alone", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const secret = keptSecret(folder);
    assert.match(secret, /^[0-9a-f]{64}$/);
    assert.equal(Deno.statSync(`${folder}/webhook-secret`).mode! & 0o777, 0o600);
    assert.equal(keptSecret(folder), secret);
    assert.deepEqual(Array.from(Deno.readDirSync(folder), ({ name }) => name), ["webhook-secret"]);
    await Deno.writeTextFile(`${folder}/webhook-secret`, "mine\n");
    assert.equal(keptSecret(folder), "mine");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
