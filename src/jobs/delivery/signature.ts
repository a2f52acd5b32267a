/**
 * How the receiver of a webhook knows that it comes from this server and is not an old one sent again: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`, with a
 * secret that both know.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

/** The header X-Splice-Signature of a body that is sent at `at`, unix seconds. */
export function sign(secret: string, { body, at }: { body: string; at: number }): string {
  return `t=${at},v1=${digestOf(secret, `${at}.${body}`).toString("hex")}`;
}

export interface Received {
  readonly body: string;
  /** The header X-Splice-Signature. */
  readonly signature: string;
  /** Unix seconds. */
  readonly now?: number;
  /** How old the signature may be, in seconds. */
  readonly tolerance?: number;
}

/** Whether the body was signed with this secret, not long ago. */
export function verifySignature(secret: string, received: Received): boolean {
  const { body, signature, now = Date.now() / 1000, tolerance = 300 } = received;
  const [, at, hex] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(signature) ?? [];
  if (at === undefined || Math.abs(now - Number(at)) > tolerance) return false;
  return timingSafeEqual(
    digestOf(secret, `${at}.${body}`),
    new Uint8Array(hex.match(/../g)!.map((pair) => parseInt(pair, 16))),
  );
}

function digestOf(secret: string, text: string) {
  return createHmac("sha256", secret).update(text).digest();
}
