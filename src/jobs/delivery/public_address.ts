/**
 * Which addresses a webhook may go to: those of the public internet, unless the server's owner says otherwise. Without it, anyone who may create a job could make the
 * server call what only the server can reach. What counts is the address that is connected to, not the name: names are resolved once, here.
 * (The package request-filtering-agent 3.2 goes by the same ipaddr.js, but lets any IPv6 address pass that has no name there, as 200::1, and refuses only at connecting.)
 */
import { lookup } from "node:dns/promises";
import ipaddr from "ipaddr.js";
import { Fault } from "../model/job.ts";

/** An IP address, as node:net's lookups give it. */
export interface Address {
  readonly address: string;
  readonly family: number;
}

const LONGEST_URL = 2048;
/** Outside of it no IPv6 address is given to anyone. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR("2000::/3");

/** False for loopback, private, link-local, shared, multicast, mapped, translated, tunnelled, reserved addresses, and for what is no address. */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== "unicast") return false;
  return parsed instanceof ipaddr.IPv4 || parsed.match(GLOBAL_UNICAST);
}

/** Checks all that can be checked of a webhook's address before it is called. @throws Fault invalid_options, its error names `webhook_url` */
export function checkWebhookUrl(text: string, { allowPrivate }: { allowPrivate: boolean }): void {
  const why = urlProblem(text, allowPrivate);
  if (why === null) return;
  const shown = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
  const message = `Cannot use webhook_url = ${shown}: ${why}`;
  throw new Fault("invalid_options", message, { errors: [{ field: "webhook_url", message }] });
}

function urlProblem(text: string, allowPrivate: boolean): string | null {
  if (text.length > LONGEST_URL) return `it is longer than ${LONGEST_URL} characters`;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    return "it must be an address that begins with https:// or http://";
  }
  if (url.username !== "" || url.password !== "") {
    return "it must not hold a name or password; put a secret into its path, or check the signature of what arrives";
  }
  const host = hostOf(url);
  const local = ipaddr.isValid(host) ? !isPublic(host) : /(^|\.)localhost\.?$/.test(host);
  if (local && !allowPrivate) return `${host} is not a public address, and this server calls public addresses only`;
  return null;
}

/** Without the brackets of IPv6. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1");
}

export type Resolve = (host: string) => Promise<readonly Address[]>;

const resolveBySystem: Resolve = (host) => lookup(host, { all: true });

/** The addresses of a host, every one of them checked: one bad among them is reason to distrust all. @throws Error */
export async function addressesOf(
  host: string,
  { allowPrivate, resolve = resolveBySystem }: { allowPrivate: boolean; resolve?: Resolve | undefined },
): Promise<readonly Address[]> {
  const found = await resolve(host);
  if (found.length === 0) throw new Error(`${host} has no address`);
  const bad = allowPrivate ? undefined : found.find(({ address }) => !isPublic(address));
  if (bad) throw new Error(`${host}${bad.address === host ? "" : ` is ${bad.address}, which`} is not a public address`);
  return found;
}
