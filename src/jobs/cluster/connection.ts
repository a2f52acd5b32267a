/**
 * The way into a cluster: how its addresses and credentials are written, and connecting so that what is wrong is told in one line: unreachable, refused, no JetStream, too old.
 * Once it has been made, a connection comes back by itself, for ever, through whatever happens to the servers.
 */
import {
  type Authenticator,
  credsAuthenticator,
  errors,
  type NatsConnection,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/nats-core";
import {
  jetstream,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstreamManager,
} from "@nats-io/jetstream";
import { connectOverTcp } from "./transport.ts";

/** How to get in; the first of them that is there is used. */
export interface Credentials {
  /** The text of a credentials file: a JWT and a seed. */
  readonly creds?: string | undefined;
  /** The seed of an nkey. */
  readonly nkey?: string | undefined;
  readonly token?: string | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
}

export interface ConnectionOptions {
  readonly addresses: ClusterAddresses;
  readonly credentials: Credentials;
  /** PEM text of the certificates that may have signed the servers', besides those that the system trusts. */
  readonly ca: string | null;
  /** What the servers call it in their lists: "splice serve host". */
  readonly name: string;
  log(text: string): void;
}

/** An open connection, and what is asked over it. */
export interface Connection {
  readonly nats: NatsConnection;
  readonly js: JetStreamClient;
  readonly manager: JetStreamManager;
  /** Whether a server answers at present, as far as is known. */
  connected(): boolean;
  /** Has `close` wait for what is under way, for as long as a request for work may take. */
  hold(work: Promise<unknown>): void;
  /** What has been said until now still reaches the servers, where any can be reached. */
  close(): Promise<void>;
}

export interface ClusterAddresses {
  /** host:port, without scheme or credentials. */
  readonly servers: readonly string[];
  /** Some address began with tls://: nothing is sent in the clear. */
  readonly tls: boolean;
  /** From `user:password@` or `token@` in an address. */
  readonly credentials: Credentials;
}

/** One request waits so long, in ms: one that was under way when a connection broke fails only then, and is safe to repeat. */
const REQUEST_TIMEOUT = 1500;
const DIAL_TIMEOUT = 5000;
/** What is under way is waited for so long, in ms: longer than any request for work. */
const HELD = 5000;
/** The last words of a process that leaves are waited for so long, in ms. */
const LAST_WORDS = 2000;
/** Looks for JetStream, in a cluster that may be starting. */
const PATIENT_TRIES = 5;
const DEFAULT_PORT = 4222;
const OLDEST = [2, 9, 10];

/** "nats://a:4222,tls://user:password@b". @throws Error that says what is wanted */
export function parseAddresses(text: string): ClusterAddresses {
  const servers: string[] = [];
  let tls = false;
  let credentials: Credentials = {};
  for (const address of text.split(",").map((part) => part.trim())) {
    const url = URL.parse(/^[a-z]+:\/\//.test(address) ? address : `nats://${address}`);
    if (url === null || url.hostname === "" || !/^(nats|tls):$/.test(url.protocol) || /^\/./.test(url.pathname)) {
      throw new Error(
        `Cannot use the cluster address ${
          JSON.stringify(withoutSecret(address))
        }: it must be a server's, nats://host:4222 or ` +
          "tls://host:4222, or several with commas between them",
      );
    }
    if (url.protocol === "tls:") tls = true;
    if (url.username !== "") {
      const [user, password] = [url.username, url.password].map(decoded);
      credentials = url.password === "" ? { token: user } : { user, password };
    }
    servers.push(`${url.hostname}:${url.port || DEFAULT_PORT}`);
  }
  return { servers, tls, credentials };
}

/** A per cent sign may stand for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function withoutSecret(address: string): string {
  return address.replace(/\/\/[^@]*@/, "//…@");
}

/** Connects, and looks whether what answers can keep jobs. @throws Error of one line: what is wrong, and what to do */
export async function connectCluster(options: ConnectionOptions): Promise<Connection> {
  const { addresses, log } = options;
  const where = addresses.servers.join(", ");
  const authenticator = authenticatorOf(isGiven(options.credentials) ? options.credentials : addresses.credentials);
  let nats: NatsConnection;
  try {
    nats = await connectOverTcp({
      servers: [...addresses.servers],
      name: options.name,
      authenticator,
      ...addresses.tls || options.ca !== null ? { tls: options.ca === null ? {} : { ca: options.ca } } : {},
      // Gossiped servers would need leave that nobody gave.
      ignoreClusterUpdates: true,
      maxReconnectAttempts: -1,
      // While servers start, even right credentials can be refused for a moment.
      ignoreAuthErrorAbort: true,
      reconnectTimeWait: 250,
      noAsyncTraces: true,
      pingInterval: 2000,
      maxPingOut: 2,
      timeout: DIAL_TIMEOUT,
    });
  } catch (cause) {
    throw new Error(`Cannot connect to the cluster at ${where}: ${whyNot(cause)}`, { cause });
  }
  try {
    refuseOld(nats);
    const manager = await jetstreamManager(nats, { timeout: REQUEST_TIMEOUT, checkAPI: false });
    await findJetStream(manager);
    const js = jetstream(nats, { timeout: REQUEST_TIMEOUT });
    let connected = true;
    void (async () => {
      for await (const { type } of nats.status()) {
        if (type === "disconnect" && connected) {
          log(`The connection to the cluster at ${where} broke; trying to come back`);
        }
        if (type === "reconnect" && !connected) log(`Connected to the cluster again, at ${nats.getServer()}`);
        connected = type === "disconnect" ? false : type === "reconnect" ? true : connected;
      }
    })();
    const held = new Set<Promise<unknown>>();
    return {
      nats,
      js,
      manager,
      connected: () => connected && !nats.isClosed(),
      hold(work) {
        const ended = work.catch(() => {}).finally(() => held.delete(ended));
        held.add(ended);
      },
      async close() {
        // What waits for a server that is away may wait for ever.
        if (connected && !nats.isClosed()) {
          await within(HELD, Promise.all(held));
          await within(LAST_WORDS, nats.flush());
        }
        await nats.close();
      },
    };
  } catch (error) {
    await nats.close();
    throw error;
  }
}

function isGiven({ creds, nkey, token, user }: Credentials): boolean {
  return [creds, nkey, token, user].some((value) => value !== undefined);
}

/** @throws Error for what can be no credentials, whatever the server */
export function checkCredentials(credentials: Credentials): void {
  authenticatorOf(credentials);
}

/** @throws Error for what the client library would only choke on as it connects */
function authenticatorOf({ creds, nkey, token, user, password }: Credentials): Authenticator[] {
  const bytes = (text: string) => new TextEncoder().encode(text);
  if (creds !== undefined) {
    return [checked(credsAuthenticator(bytes(`${creds.trim()}\n`)), "it is no credentials file of a user")];
  }
  if (nkey !== undefined) {
    return [checked(nkeyAuthenticator(bytes(nkey.trim())), "it is no seed of an nkey, which begins with SU")];
  }
  if (token !== undefined) return [tokenAuthenticator(token)];
  return user === undefined ? [] : [usernamePasswordAuthenticator(user, password)];
}

function checked(authenticator: Authenticator, otherwise: string): Authenticator {
  try {
    authenticator("nonce");
    return authenticator;
  } catch (cause) {
    throw new Error(`Cannot use the cluster's credentials: ${otherwise}`, { cause });
  }
}

function whyNot(error: unknown): string {
  if (error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError) {
    return "it refuses the credentials; check --cluster-credentials, or the user, password, token or nkey in the environment";
  }
  if (error instanceof errors.TimeoutError) return `nothing answered within ${DIAL_TIMEOUT / 1000} seconds`;
  const message = error instanceof Error ? error.message : String(error);
  if (/does not support 'tls'/.test(message)) {
    return "it offers no TLS; use nats:// addresses, or give the servers certificates";
  }
  if (/certificate|handshake|tls/i.test(message)) {
    return `its certificate is not accepted (${message}); name the authority that signed it with --cluster-ca`;
  }
  return `${message}; is nats-server running there?`;
}

/** `version` as servers say it, "2.10.27-RC.1"; `wanted` as its numbers. */
export function isAtLeast(version: string, wanted: readonly number[]): boolean {
  const numbers = version.split(/[.-]/, 3).map(Number);
  const first = wanted.findIndex((number, i) => numbers[i] !== number);
  return first < 0 || numbers[first] > wanted[first];
}

function refuseOld(nats: NatsConnection): void {
  const version = nats.info?.version ?? "";
  if (isAtLeast(version, OLDEST)) return;
  throw new Error(
    `Cannot use the cluster: ${nats.getServer()} runs nats-server ${version}, and ${
      OLDEST.join(".")
    } is the oldest that will do; update it, to 2.10.27 or newer where you can`,
  );
}

/** A cluster that is starting answers nobody for some seconds. */
async function findJetStream(manager: JetStreamManager): Promise<void> {
  for (let tries = 1;; tries++) {
    try {
      await manager.getAccountInfo();
      return;
    } catch (cause) {
      const again = cause instanceof errors.TimeoutError || isLeaderless(cause);
      if (again && tries < PATIENT_TRIES) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        continue;
      }
      const why = again
        ? "JetStream does not answer: more than half of its servers have to be up"
        : "JetStream is not enabled, on the servers or for this account; start nats-server with -js, or give the account jetstream: enabled";
      throw new Error(`Cannot use the cluster: ${why}`, { cause });
    }
  }
}

function isLeaderless(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.status === 503;
}

/** Resolves when it has been done, in whichever way, or the time is over. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, ms);
  await Promise.race([work.catch(() => {}), late.promise]);
  clearTimeout(timer);
}
