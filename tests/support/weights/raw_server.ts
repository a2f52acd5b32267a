/** A server on the loopback address that answers as it is told, byte for byte: it can cut, lie, be silent, and change its mind. */

export interface Asked {
  readonly path: string;
  readonly headers: ReadonlyMap<string, string>;
  /** Which request this is, from 0. */
  readonly number: number;
}

/** `head` is status line and headers, a line each; what is `held` keeps the connection open after the body until the client or the test ends it. */
export interface Answer {
  readonly head: readonly string[];
  readonly body?: Uint8Array;
  readonly held?: boolean;
  /** Ms between two pieces of the body, of 4096 bytes. */
  readonly pause?: number;
}

export interface RawServer extends AsyncDisposable {
  readonly address: string;
  readonly asked: readonly Asked[];
}

export function serveRaw(answer: (asked: Asked) => Answer): RawServer {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const asked: Asked[] = [];
  const open = new Set<Deno.Conn>();
  async function converse(connection: Deno.Conn): Promise<void> {
    open.add(connection);
    try {
      const request = { ...await readHead(connection), number: asked.length };
      asked.push(request);
      const { head, body = new Uint8Array(), held, pause } = answer(request);
      const lines = ["connection: close", ""].join("\r\n");
      await writeAll(connection, new TextEncoder().encode(`${head.join("\r\n")}\r\n${lines}\r\n`));
      for (let at = 0; at < body.length; at += pause === undefined ? body.length : 4096) {
        await writeAll(connection, pause === undefined ? body : body.subarray(at, at + 4096));
        if (pause !== undefined) await new Promise((resolve) => setTimeout(resolve, pause));
      }
      if (held) await connection.read(new Uint8Array(1));
    } catch {
      // The client has gone, or the test has ended.
    } finally {
      open.delete(connection);
      try {
        connection.close();
      } catch {
        // Closed with the server.
      }
    }
  }
  const conversations: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) conversations.push(converse(connection));
  })();
  return {
    address: `http://127.0.0.1:${listener.addr.port}`,
    asked,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const connection of open) connection.close();
      await accepting;
      await Promise.all(conversations);
    },
  };
}

async function readHead(connection: Deno.Conn): Promise<Omit<Asked, "number">> {
  const buffer = new Uint8Array(16384);
  let text = "";
  while (!text.includes("\r\n\r\n")) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error("The client went away before it had asked");
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  const [first, ...lines] = text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n");
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { path: first.split(" ")[1], headers: new Map(headers) };
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

export type FileOptions = {
  readonly etag?: string | null;
  readonly modified?: string;
  /** The connection ends after so many bytes of the body. */
  readonly cut?: number;
  /** Says so many bytes more, or fewer, than there are. */
  readonly lie?: number;
  readonly ignoresRange?: boolean;
  readonly pause?: number;
  readonly held?: boolean;
};

/** The usual answer of a good server with `file`, ranges and If-Range included, and its vices. */
export function fileAnswer({ headers }: Asked, file: Uint8Array, options: FileOptions = {}): Answer {
  const { etag = '"one"', modified, cut, lie = 0, ignoresRange, ...rest } = options;
  const condition = headers.get("if-range");
  const fresh = condition === undefined || condition === etag || condition === modified;
  const from = ignoresRange || !fresh ? 0 : Number(/^bytes=(\d+)-$/.exec(headers.get("range") ?? "")?.[1] ?? 0);
  if (from >= file.length && from > 0) {
    return {
      head: ["HTTP/1.1 416 Range Not Satisfiable", `content-range: bytes */${file.length}`, "content-length: 0"],
    };
  }
  const body = file.subarray(from, cut === undefined ? undefined : Math.max(from, cut));
  const head = [
    from > 0 ? "HTTP/1.1 206 Partial Content" : "HTTP/1.1 200 OK",
    `content-length: ${file.length - from + lie}`,
    ...(from > 0 ? [`content-range: bytes ${from}-${file.length - 1}/${file.length}`] : []),
    ...(etag === null ? [] : [`etag: ${etag}`]),
    ...(modified === undefined ? [] : [`last-modified: ${modified}`]),
  ];
  return { head, body, ...rest };
}

export const statusAnswer = (status: string, ...headers: string[]): Answer => ({
  head: [`HTTP/1.1 ${status}`, "content-length: 0", ...headers],
});
