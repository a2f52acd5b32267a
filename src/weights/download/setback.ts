// What goes wrong with an address, in words: for good (FetchError), or for now (Setback). It decides nothing; download.ts does.
// Invariant: a message reads on after the address, or names it.

import { messageOf } from "../formats/tensor.ts";

/** An address that gave no file, or not the right one. `elsewhere`: another address of the same file may do better. */
export class FetchError extends Error {
  override readonly name = "FetchError";
  readonly elsewhere: boolean;

  constructor(message: string, { elsewhere = true, cause }: { elsewhere?: boolean; cause?: unknown } = {}) {
    super(message, { cause });
    this.elsewhere = elsewhere;
  }
}

/** Something that may go better the next time, after `pause` ms where the server asked for that. The message reads on after the address. */
export class Setback extends Error {
  readonly pause: number | null;
  readonly unreachable: boolean;

  constructor(
    message: string,
    { pause = null, unreachable = false }: { pause?: number | null; unreachable?: boolean } = {},
  ) {
    super(message);
    this.pause = pause;
    this.unreachable = unreachable;
  }
}

/** The last part of Deno's chain of reasons: `dns error: failed to lookup address information: Name or service not known`. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text = messageOf(cause).replace(/^.*?client error \(\w+\): /s, "").replace(
    /^(?:error sending request for url \(\S*\)|Fetch failed): /,
    "",
  );
  if (/tunnel/i.test(text)) return `${text}: the proxy that HTTPS_PROXY names refuses the connection`;
  return /certificate/i.test(text)
    ? `${text}; if a proxy of yours signs connections anew, DENO_TLS_CA_STORE=system trusts what your system trusts`
    : text;
}
