/**
 * One HTTP request to a stranger, trusted with nothing: it goes to the very addresses it is given, follows no redirect, waits no longer than it is told and reads
 * next to nothing of the answer. `fetch` lets nobody say which address a name stands for, hence node:http.
 */
import * as http from "node:http";
import * as https from "node:https";
import { isIP, type LookupFunction } from "node:net";
import * as tls from "node:tls";
import { type Address, hostOf } from "./public_address.ts";

export interface Post {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Where the name in the URL is; it is resolved no further. */
  readonly addresses: readonly Address[];
  /** Aborts the request; its reason is what the promise is rejected with. */
  readonly signal: AbortSignal;
  /** PEM of the authorities to trust instead of the usual ones. */
  readonly ca?: string;
}

const MOST_READ = 4096;

/** Resolves to the status of the answer. @throws Error where there is none, or when the signal is aborted before it */
export function post(url: URL, { body, headers, addresses, signal, ca }: Post): Promise<number> {
  const lookup: LookupFunction = (_host, { all }, found) => {
    if (all) found(null, addresses.map(({ address, family }) => ({ address, family })));
    else found(null, addresses[0].address, addresses[0].family);
  };
  const bytes = new TextEncoder().encode(body);
  return new Promise((resolve, reject) => {
    const options = { method: "POST", headers: { ...headers, "Content-Length": bytes.length }, lookup };
    const request = url.protocol === "https:"
      ? https.request(url, { ...options, createConnection: () => connectSecurely(url, { lookup, ca }) })
      : http.request(url, { ...options, agent: false });
    const stop = () => request.destroy(signal.reason);
    const settled = () => signal.removeEventListener("abort", stop);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    request.on("error", (error) => {
      settled();
      reject(signal.aborted ? signal.reason : error);
    });
    request.on("response", (answer) => {
      const status = answer.statusCode ?? 0;
      let read = 0;
      const done = () => {
        settled();
        // The status is the answer, whatever becomes of the rest.
        request.destroy();
        resolve(status);
      };
      answer.on("data", (chunk: Uint8Array) => {
        if ((read += chunk.length) > MOST_READ) done();
      });
      answer.on("end", done);
      answer.on("error", done);
      answer.on("close", done);
    });
    request.end(bytes);
  });
}

/** By itself node:https asks for the system's certificates, which in Deno takes the permission to ask the system anything. */
function connectSecurely(url: URL, { lookup, ca }: { lookup: LookupFunction; ca: string | undefined }): tls.TLSSocket {
  const host = hostOf(url);
  const name = isIP(host) ? {} : { servername: host };
  const trust = ca === undefined ? {} : { ca };
  return tls.connect({ host, port: Number(url.port || 443), lookup, ALPNProtocols: ["http/1.1"], ...name, ...trust });
}
