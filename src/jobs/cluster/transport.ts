/**
 * The wire to a NATS server: a TCP connection of Deno's, made TLS where the server or the caller wants it. The client library brings the protocol, this brings bytes.
 * Its own transport goes through node:net, where a server that hangs up at the wrong moment is an error that nobody can catch; here every end of a connection is an answer.
 */
import {
  type ConnectionOptions,
  errors,
  extractProtocolMessage,
  NatsConnectionImpl,
  type Server,
  setTransportFactory,
  type Transport,
} from "@nats-io/nats-core/internal";
import type { NatsConnection } from "@nats-io/nats-core";

const READ_BYTES = 128 * 1024;
/** A server's greeting is a line of at most a few KB; whoever sends more before a line's end is none. */
const MOST_GREETING = 64 * 1024;

/** Connects as the library does, over this transport. @throws what the library throws, or Deno's network errors */
export function connectOverTcp(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: tcpTransport });
  return NatsConnectionImpl.connect({ ...options, resolve: false });
}

function tcpTransport(): Transport {
  const ended = Promise.withResolvers<void | Error>();
  const dialling = new AbortController();
  const frames: Uint8Array[] = [];
  let conn: Deno.Conn | null = null;
  let greeting: Uint8Array | null = null;
  let encrypted = false;
  let closed = false;
  let writing = false;
  let closeError: Error | undefined;

  /** The library hears of the end of a connection only where it had one: before that, `connect` throws. */
  function end(error?: Error): void {
    dialling.abort(error);
    if (closed) return;
    closed = true;
    closeError = error;
    frames.length = 0;
    hangUp(conn);
    if (greeting !== null) ended.resolve(error);
  }

  async function write(): Promise<void> {
    if (writing || conn === null) return;
    writing = true;
    try {
      for (let frame = frames.shift(); frame !== undefined && !closed; frame = frames.shift()) {
        for (let done = 0; done < frame.length;) done += await conn.write(frame.subarray(done));
      }
    } catch (error) {
      end(asError(error));
    } finally {
      writing = false;
    }
  }

  async function* read(): AsyncIterableIterator<Uint8Array> {
    yield greeting!;
    const buffer = new Uint8Array(READ_BYTES);
    try {
      while (!closed) {
        const bytes = await conn!.read(buffer);
        if (bytes === null) break;
        // The parser may keep what it is given.
        yield buffer.slice(0, bytes);
      }
      end();
    } catch (error) {
      end(asError(error));
    }
  }

  return {
    lang: "deno",
    version: Deno.version.deno,
    async connect({ hostname, port, tlsName }: Server, { tls }: ConnectionOptions) {
      try {
        const plain = await Deno.connect({ hostname, port, signal: dialling.signal });
        conn = plain;
        plain.setNoDelay();
        const { bytes, info } = await greet(plain);
        if (closed) throw closeError ?? new errors.ConnectionError("the connection was given up");
        if (tls && !info.tls_required && !info.tls_available) {
          throw new errors.ConnectionError("server does not support 'tls'");
        }
        if (tls || info.tls_required) {
          const caCerts = typeof tls?.ca === "string" ? [tls.ca] : [];
          const secure = await Deno.startTls(plain, { hostname: tlsName || hostname, caCerts });
          conn = secure;
          await secure.handshake();
          encrypted = true;
        }
        if (closed) throw closeError ?? new errors.ConnectionError("the connection was given up");
        greeting = bytes;
      } catch (error) {
        if (closed) hangUp(conn);
        end(asError(error));
        throw error;
      }
    },
    [Symbol.asyncIterator]: read,
    send(frame) {
      if (closed) return;
      frames.push(frame);
      void write();
    },
    close: (error) => Promise.resolve(end(error)),
    disconnect: () => end(),
    discard: () => end(),
    closed: () => ended.promise,
    isEncrypted: () => encrypted,
    get isClosed() {
      return closed;
    },
    get closeError() {
      return closeError;
    },
  } as Transport;
}

interface Greeting {
  readonly tls_required?: boolean;
  readonly tls_available?: boolean;
}

/** The server's first line, which says what it wants; TLS begins right after it. */
async function greet(conn: Deno.Conn): Promise<{ bytes: Uint8Array; info: Greeting }> {
  let bytes = new Uint8Array();
  const buffer = new Uint8Array(READ_BYTES);
  for (;;) {
    const read = await conn.read(buffer);
    if (read === null) throw new errors.ConnectionError("the server hung up before it said who it is");
    const joined = new Uint8Array(bytes.length + read);
    joined.set(bytes);
    joined.set(buffer.subarray(0, read), bytes.length);
    bytes = joined;
    const line = extractProtocolMessage(bytes);
    if (line !== "") {
      const [, json] = /^INFO\s+([^\r\n]+)/i.exec(line) ?? [];
      if (json === undefined) throw new errors.ConnectionError("what answers there is no NATS server");
      return { bytes, info: JSON.parse(json) };
    }
    if (bytes.length > MOST_GREETING) throw new errors.ConnectionError("what answers there is no NATS server");
  }
}

function hangUp(conn: Deno.Conn | null): void {
  try {
    conn?.close();
  } catch {
    // A failed handshake has closed it already.
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
