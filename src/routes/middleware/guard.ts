/**
 * Who may ask, and what browsers may do with the answers: security headers, no request from a page of another site, API keys. It refuses; it never changes a request.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { createMiddleware } from "hono/factory";
import { cors } from "hono/cors";
import { secureHeaders } from "hono/secure-headers";
import { Fault } from "../../jobs/model/job.ts";
import type { AppOptions, Ask, Env } from "./environment.ts";

const self = ["'self'"];
const none = ["'none'"];

/** Pages load only what this server holds, without inline scripts, and are in nobody's frame. Previews are blobs, icons data. */
export const securityHeaders = secureHeaders({
  contentSecurityPolicy: {
    defaultSrc: none,
    scriptSrc: self,
    styleSrc: self,
    imgSrc: ["'self'", "blob:", "data:"],
    fontSrc: self,
    connectSrc: self,
    manifestSrc: self,
    formAction: self,
    frameAncestors: none,
    baseUri: none,
  },
  xFrameOptions: "DENY",
  // Whether there is TLS in front of this server is for that to say.
  strictTransportSecurity: false,
});

/** Pages of the configured origins may use /v1; without any, browsers keep all others out by themselves. */
export function crossOrigin(origins: readonly string[]) {
  return cors({
    origin: origins.includes("*") ? "*" : [...origins],
    allowMethods: ["GET", "HEAD", "POST", "DELETE"],
    allowHeaders: ["Accept", "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-Id"],
    exposeHeaders: [
      "Content-Disposition",
      "Idempotent-Replayed",
      "Location",
      "RateLimit-Limit",
      "RateLimit-Remaining",
      "RateLimit-Reset",
      "Retry-After",
      "X-Request-Id",
    ],
    maxAge: 600,
  });
}

/** Learns the client's address and key, for all that follows. */
export function identify({ keys, trustProxy }: AppOptions) {
  const digests = keys.map((key) => ({ id: hash(key).toString("hex").slice(0, 16), digest: hash(key) }));
  return createMiddleware<Env>(async (c, next) => {
    const remote = c.env?.remoteAddr;
    const direct = remote !== undefined && "hostname" in remote ? remote.hostname : "unknown";
    const hop = trustProxy ? c.req.header("x-forwarded-for")?.split(",").at(-1)?.trim() : undefined;
    c.set("address", hop !== undefined && /^[\da-f.:]{3,45}$/i.test(hop) ? hop : direct);
    const given = /^Bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    let key: string | null = null;
    if (given !== undefined) {
      const digest = hash(given);
      for (const known of digests) if (timingSafeEqual(known.digest, digest)) key = known.id;
    }
    c.set("key", key);
    await next();
  });
}

/** Lets pass only who has a key, where there are keys. */
export function requireKey({ keys }: AppOptions) {
  return createMiddleware<Env>(async (c, next) => {
    if (keys.length > 0 && c.get("key") === null) {
      const detail = c.req.header("authorization") === undefined
        ? "Cannot answer without an API key: send one as `Authorization: Bearer KEY`."
        : "Cannot answer: the Authorization header holds no API key of this server. Send one as `Authorization: Bearer KEY`.";
      throw new Fault("unauthorized", detail);
    }
    await next();
  });
}

/**
 * A page of another site must not use this server through its visitor's browser. Such a page gives itself away by its Origin; one that had its own name point at
 * this machine (DNS rebinding) by a Host that nobody on this machine would use.
 */
export function refuseStrangers({ cors: origins, trustProxy }: AppOptions) {
  const hosts = new Set(origins.filter((origin) => URL.canParse(origin)).map((origin) => hostOf(origin)));
  return createMiddleware<Env>(async (c, next) => {
    const asked = askedHost(c, trustProxy);
    const remote = c.env?.remoteAddr;
    const nearby = remote !== undefined && "hostname" in remote && isLoopback(remote.hostname);
    if (nearby && !trustProxy && !isLocalName(asked) && !hosts.has(asked)) {
      throw new Fault(
        "forbidden",
        `Cannot answer to the name ${asked}: from this machine the server answers to localhost and to addresses in numbers only, so that no web page can reach it by a name of its own. ` +
          "Use http://localhost, or start the server for use behind a proxy.",
      );
    }
    const origin = c.req.header("origin");
    const safe = c.req.method === "GET" || c.req.method === "HEAD" || c.req.method === "OPTIONS";
    if (!safe && origin !== undefined && !origins.includes("*") && !origins.includes(origin)) {
      if (!URL.canParse(origin) || hostOf(origin) !== asked) {
        throw new Fault(
          "forbidden",
          `Cannot take this from a page of ${
            origin.slice(0, 100)
          }: only this server's own page may send it. Start the server with that origin allowed (CORS) if it is yours.`,
        );
      }
    }
    await next();
  });
}

function askedHost(c: Ask, trustProxy: boolean): string {
  const forwarded = trustProxy ? c.req.header("x-forwarded-host")?.split(",").at(-1)?.trim() : undefined;
  const address = `http://${forwarded}`;
  return hostOf(forwarded !== undefined && URL.canParse(address) ? address : c.req.url);
}

/** Name and port; the usual ports do not count, for what comes over TLS to a proxy arrives here without. */
const hostOf = (address: string) => new URL(address).host.replace(/:(80|443)$/, "");

const isLoopback = (address: string) => address === "::1" || /^(::ffff:)?127\./.test(address);

/** localhost, or an address in numbers, which no stranger can make point elsewhere. */
function isLocalName(host: string): boolean {
  const name = host.replace(/:\d+$/, "");
  return name === "localhost" || name.endsWith(".localhost") || name.startsWith("[") || /^\d+(\.\d+){3}$/.test(name);
}

const hash = (text: string) => createHash("sha256").update(text).digest();
