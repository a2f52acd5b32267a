/**
 * The server's socket, which outlives its troubles: Deno.serve gives up listening for good when one connection cannot be accepted, as when the process has no file
 * descriptors left. Requests are not looked at here.
 */

export interface ListenOptions {
  readonly hostname: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly handler: Deno.ServeHandler<Deno.NetAddr>;
  /** What is answered where the handler throws. */
  onError(error: unknown): Response;
  log(text: string): void;
}

export interface Listener {
  readonly hostname: string;
  readonly port: number;
  /** Takes nothing more; resolves when everything that was asked has been answered. */
  shutdown(): Promise<void>;
}

/** Before it listens again, in ms. */
const PAUSE = 250;

/** @throws what Deno.serve throws, if it cannot listen at first */
export function listen({ hostname, port, handler, onError, log }: ListenOptions): Listener {
  let stopping = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const open = (port: number) => Deno.serve({ hostname, port, onError, onListen: () => {} }, handler);
  let server = open(port);
  const { hostname: bound, port: chosen } = server.addr;

  function watch(): void {
    const again = (error?: unknown) => {
      if (stopping) return;
      log(`listening ended (${error instanceof Error ? error.message : "nobody knows why"}); trying again`);
      timer = setTimeout(reopen, PAUSE);
    };
    server.finished.then(() => again(), again);
  }
  function reopen(): void {
    try {
      server = open(chosen);
      watch();
    } catch {
      timer = setTimeout(reopen, PAUSE); // said already, and it may take long
    }
  }
  watch();
  return {
    hostname: bound,
    port: chosen,
    async shutdown() {
      stopping = true;
      clearTimeout(timer);
      await server.shutdown();
    },
  };
}
