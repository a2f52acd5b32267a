/** A way to a server on the loopback address that a test can cut: what is said stays under way, as with a machine that stands still, until it is mended. */
export interface Link {
  readonly port: number;
  /** From now on nothing gets through, in either direction, and nobody is told. */
  cut(): void;
  /** What was under way arrives, unless one of the two has given up meanwhile. */
  mend(): void;
  /** Ends every connection. */
  close(): Promise<void>;
}

export function linkTo(port: number): Link {
  const hostname = "127.0.0.1";
  const listener = Deno.listen({ hostname, port: 0 });
  const connections = new Set<Deno.TcpConn>();
  let whole: PromiseWithResolvers<void> | null = null;
  let closed = false;

  const hold = (connection: Deno.TcpConn) => (connections.add(connection), connection);
  function end(connection: Deno.TcpConn): void {
    if (connections.delete(connection)) connection.close();
  }

  async function carry(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (let count: number | null; (count = await from.read(buffer)) !== null;) {
        while (whole !== null) await whole.promise;
        for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
      }
    } catch {
      // One side has gone, or the link was closed: so does the other.
    }
    while (whole !== null) await whole.promise;
    end(from);
    end(to);
  }

  async function join(client: Deno.TcpConn): Promise<void> {
    while (whole !== null) await whole.promise;
    try {
      if (closed) throw new Error("closed");
      const server = hold(await Deno.connect({ hostname, port }));
      await Promise.all([carry(client, server), carry(server, client)]);
    } catch {
      end(client); // nobody listens there now
    }
  }

  const joined = new Set<Promise<void>>();
  const accepting = (async () => {
    try {
      for await (const client of listener) {
        const work = join(hold(client)).finally(() => joined.delete(work));
        joined.add(work);
      }
    } catch {
      // It was closed.
    }
  })();
  const mend = () => {
    whole?.resolve();
    whole = null;
  };
  return {
    port: listener.addr.port,
    cut: () => void (whole ??= Promise.withResolvers()),
    mend,
    async close() {
      closed = true;
      listener.close();
      for (const connection of connections) end(connection);
      mend();
      await accepting;
      await Promise.all(joined);
    },
  };
}
