/**
 * The whole server but for the GPU: the real routes, jobs, store and inspector, with a worker that seems to train (`painter.ts`). For tests of the page, and to look at it:
 * `deno run -A tests/support/web/page_server.ts` prints an address and serves until it is interrupted.
 */
import { fileURLToPath } from "node:url";
import { buildWeb } from "../../../tools/build_web.ts";
import { openLiveApp } from "../routes/live_app.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

export interface PageServer {
  readonly address: string;
  stop(): Promise<void>;
}

export interface PageServerOptions {
  readonly port?: number;
  readonly data: string;
  readonly keys?: readonly string[];
}

export async function openPageServer({ port = 0, data, keys = [] }: PageServerOptions): Promise<PageServer> {
  await buildWeb();
  const onError = (error: unknown) => console.error(error);
  const { live, app } = await openLiveApp({ data, keys, command: painter, log: () => {}, onError });
  // Until it is ready, /readyz refuses, and a browser logs each refusal as an error.
  for (let tries = 0; tries < 600 && !(await app.fetch(new Request("http://127.0.0.1/readyz"))).ok; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, app.fetch);
  return {
    address: `http://127.0.0.1:${server.addr.port}`,
    async stop() {
      await live.stop();
      await server.shutdown();
      app.close();
    },
  };
}

function painter(args: readonly string[]): { command: string; args: string[] } {
  const flags = [
    "--no-prompt",
    "--no-lock",
    `--config=${root}deno.json`,
    "--allow-read",
    "--allow-write",
    "--allow-env",
    "--allow-sys",
  ];
  return { command: Deno.execPath(), args: ["run", ...flags, `${root}tests/support/jobs/painter.ts`, ...args] };
}

if (import.meta.main) {
  const data = Deno.args[1] ?? await Deno.makeTempDir();
  const server = await openPageServer({ port: Number(Deno.args[0] ?? 8090), data });
  console.log(server.address);
  await new Promise<void>((resolve) => Deno.addSignalListener("SIGINT", resolve));
  await server.stop();
  Deno.exit(0);
}
