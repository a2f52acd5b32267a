/**
 * Real nats-server processes on the loopback address, one or three that form a cluster, each with a store of its own: to be killed, frozen and started again. The program
 * is Debian's; where it is not installed it is fetched into .tools/, unpacked and not installed, for the package would start a service of its own.
 */
import { fileURLToPath } from "node:url";
import { apt, hasApt, isThere, missingPermission } from "./debian.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const installed = "/usr/sbin/nats-server";
const fetched = `${root}.tools/nats-server/nats-server`;
const program = () => isThere(installed) ? installed : fetched;

/** How long a server may take until it serves, in ms: an election among three takes up to 9 s, on a busy machine. */
const PATIENCE = 60_000;

/** Why there is no nats-server here; null if there is, fetched where it was missing. */
export const noNats: string | null = whyMissing() ?? await fetchServer();

/** Why none can be had here; null if one can. */
function whyMissing(): string | null {
  const there = isThere(program());
  const commands = there ? [program(), "sh"] : [program(), "sh", "apt-get"];
  const missing = missingPermission([
    ...commands.map((command) => ({ name: "run", command }) as const),
    { name: "net", host: "127.0.0.1" },
  ]);
  if (missing !== null || there) return missing;
  return hasApt() ? null : `${installed} is missing, and there is no apt-get to fetch it`;
}

/** Unless it is there already. Why that did not work; null if it did. */
async function fetchServer(): Promise<string | null> {
  if (isThere(program())) return null;
  console.log("fetching Debian's nats-server (once)");
  const folder = await Deno.makeTempDir();
  try {
    await apt(["download", "nats-server"], { cwd: folder });
    // Not by Deno, which writes no file that it may start. Moved there whole, for another may be doing the same.
    const script = `dpkg-deb -x *.deb . && mkdir -p "$1" && mv .${installed} "$1/$$" && mv "$1/$$" "$0"`;
    const args = ["-ec", script, fetched, fetched.replace(/[^/]*$/, "")];
    const { success, stderr } = await new Deno.Command("sh", { args, cwd: folder, stderr: "piped" }).output();
    return success ? null : `it cannot be unpacked: ${new TextDecoder().decode(stderr).trim()}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export interface NatsOptions {
  /** 3: a cluster. */
  readonly servers?: 1 | 3;
  /** Without it a server has only what it needs to answer. */
  readonly jetstream?: boolean;
  /** The most that each may keep on the disk, as the server writes it. */
  readonly maxFile?: string;
  /** More lines for the configuration of each: authorization, tls, ... */
  readonly config?: string;
}

export interface NatsServer {
  /** Also its name to the others: n0, n1, n2. */
  readonly name: string;
  /** nats://127.0.0.1:PORT */
  readonly address: string;
  /** Ends the process, and resolves once it has ended. What it has not told the system to keep stays with the system: this is no power cut. */
  end(signal?: "SIGKILL" | "SIGTERM" | "SIGUSR2"): Promise<void>;
  /** SIGSTOP: it holds its connections and answers nothing. Resolves once all of its threads stand still. */
  freeze(): Promise<void>;
  /** SIGCONT */
  thaw(): void;
  /** With the address and the store from before. Resolves once it takes clients; with three, `settled` says when they agree. */
  start(): Promise<void>;
  log(): Promise<string>;
}

export interface Nats extends AsyncDisposable {
  readonly servers: readonly NatsServer[];
  /** Of all, separated by commas. */
  readonly addresses: string;
  /** Resolves once JetStream serves; with three servers: once they have a leader, and all that run follow it. */
  settled(): Promise<void>;
  /** The server that leads a stream, or for null the one that decides on streams; null while there is none. */
  leader(stream: string | null): Promise<NatsServer | null>;
}

/** Starts servers with empty stores. Dispose of them: their processes, and what they kept. */
export async function startNats({ servers: count = 1, ...options }: NatsOptions = {}): Promise<Nats> {
  const folder = await Deno.makeTempDir({ prefix: "nats-" });
  const places = Array.from({ length: count }, () => ({ client: freePort(), watch: freePort(), cluster: freePort() }));
  const servers = places.map((ports, index) => serverAt(`n${index}`, ports));

  function serverAt(name: string, { client, watch, cluster }: typeof places[number]) {
    const path = `${folder}/${name}.conf`;
    const log = `${folder}/${name}.log`;
    const routes = places.map(({ cluster }) => `nats://127.0.0.1:${cluster}`).join(", ");
    const limits = `store_dir: "${folder}/${name}", max_mem: 128M, max_file: ${options.maxFile ?? "8G"}`;
    Deno.writeTextFileSync(
      path,
      [
        `server_name: ${name}`,
        `listen: "127.0.0.1:${client}"`,
        `http: "127.0.0.1:${watch}"`,
        `log_file: "${log}"`,
        ...(options.jetstream === false ? [] : [`jetstream { ${limits} }`]),
        ...(count === 1 ? [] : [`cluster { name: splice, listen: "127.0.0.1:${cluster}", routes: [${routes}] }`]),
        options.config ?? "",
      ].join("\n"),
    );
    let process: Deno.ChildProcess | null = null;
    const readLog = () => Deno.readTextFile(log).catch(() => "");
    return {
      name,
      address: `nats://127.0.0.1:${client}`,
      log: readLog,
      async end(signal: Deno.Signal = "SIGKILL") {
        const ending = process;
        process = null;
        ending?.kill(signal);
        // What is frozen takes no other signal.
        if (signal !== "SIGKILL") ending?.kill("SIGCONT");
        await ending?.status;
      },
      async freeze() {
        process?.kill("SIGSTOP");
        const script = 'while grep -L "^State:.T" /proc/$0/task/*/status | grep -q .; do :; done';
        await new Deno.Command("sh", { args: ["-c", script, String(process?.pid)] }).output();
      },
      thaw: () => process?.kill("SIGCONT"),
      async start() {
        if (process !== null) throw new Error(`Bug: ${name} runs already`);
        const started = new Deno.Command(program(), {
          args: ["-c", path],
          stdin: "null",
          stdout: "null",
          stderr: "null",
        }).spawn();
        process = started;
        let ended = false;
        void started.status.then(() => void (ended = true));
        await until(`${name} takes clients`, async () => {
          if (ended) throw new Error(`nats-server ${name} ended at its start: ${await readLog()}`);
          return await asked(watch, "healthz?js-server-only=true") !== null && await takesClients(client);
        });
      },
      /** What the server says of its JetStream; null while it says nothing. */
      jetstream: () => process === null ? null : asked(watch, "jsz?streams=true") as Promise<JetStreamState | null>,
      runs: () => process !== null,
    };
  }

  async function settled(): Promise<void> {
    if (options.jetstream === false) return;
    await until("JetStream serves", async () => {
      if (count === 1) return await servers[0].jetstream() !== null;
      const running = servers.filter((server) => server.runs());
      const states = await Promise.all(running.map((server) => server.jetstream()));
      const leaders = new Set(states.map((state) => state?.meta_cluster?.leader));
      const [led] = states.filter((state) => state?.meta_cluster?.replicas);
      const following = led?.meta_cluster?.replicas?.filter(({ offline, current }) => !offline && current).length;
      return leaders.size === 1 && following === running.length - 1;
    });
  }

  async function leader(stream: string | null): Promise<NatsServer | null> {
    const found = async (server: typeof servers[number]) => {
      const state = await server.jetstream();
      if (stream === null) return state?.meta_cluster?.leader;
      const details = state?.account_details?.flatMap(({ stream_detail }) => stream_detail ?? []) ?? [];
      const detail = details.find(({ name }) => name === stream);
      return detail && (count === 1 ? server.name : detail.cluster?.leader);
    };
    for (const server of servers) {
      const name = await found(server);
      const known = servers.find((one) => one.name === name && one.runs());
      if (known) return known;
    }
    return null;
  }

  async function dispose(): Promise<void> {
    await Promise.all(servers.map((server) => server.end()));
    await Deno.remove(folder, { recursive: true });
  }

  try {
    await Promise.all(servers.map((server) => server.start()));
    await settled();
  } catch (error) {
    await dispose();
    throw error;
  }
  const addresses = servers.map(({ address }) => address).join(",");
  return { servers, addresses, settled, leader, [Symbol.asyncDispose]: dispose };
}

/** A test with servers of its own; ignored, with the reason, where there can be none. */
export function natsTest(name: string, options: NatsOptions, run: (nats: Nats, t: Deno.TestContext) => Promise<void>) {
  if (noNats !== null) console.log(`Not tested with nats-server: ${name}. ${noNats}.`);
  Deno.test({
    name,
    ignore: noNats !== null,
    async fn(t) {
      await using nats = await startNats(options);
      await run(nats, t);
    },
  });
}

interface JetStreamState {
  readonly meta_cluster?: {
    readonly leader?: string;
    /** Told by the leader alone. */
    readonly replicas?: readonly { readonly current: boolean; readonly offline?: boolean }[];
  };
  readonly account_details?: readonly {
    readonly stream_detail?: readonly { readonly name: string; readonly cluster?: { readonly leader?: string } }[];
  }[];
}

/** From the server's own pages for those who watch it; null where it does not answer, or says that it is not well. */
async function asked(port: number, path: string): Promise<unknown> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/${path}`, { signal: AbortSignal.timeout(2000) });
    const text = await response.text();
    return response.ok ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

async function takesClients(port: number): Promise<boolean> {
  try {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    return (await connection.read(new Uint8Array(16))) !== null;
  } catch {
    return false;
  }
}

async function until(what: string, settled: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE;
  while (!await settled()) {
    if (Date.now() > deadline) throw new Error(`It did not come to pass within ${PATIENCE / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Below those that the system gives to clients: one that knocks again and again at a port nobody listens on must not be given that port, and meet itself. */
function freePort(): number {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
