/** What this machine says of itself to the servers of the cluster: its workers, what they plan, and which models it has. */
import { nuid } from "@nats-io/nats-core";
import { copyAt } from "../../../weights/store/record.ts";
import { describeEntry } from "../../../weights/store/manifest.ts";
import { listModels, loadVit, type StoredModel, type StoreOptions } from "../../../weights/store/store.ts";
import type { OwnWorkers } from "../../model/ports.ts";
import type { Connection } from "../connection.ts";
import type { Names } from "../streams.ts";
import type { Announcement, Offered } from "./roll.ts";

export interface AnnouncingOptions {
  readonly connection: Pick<Connection, "nats" | "connected">;
  readonly names: Names;
  readonly own: OwnWorkers;
  readonly models: StoreOptions;
  complain(text: string): void;
}

export interface Announcing {
  /** Says that this machine leaves. */
  close(): void;
}

/** It is said again after this, and as soon as it is another, in ms. */
const EVERY = 5000;
const LOOK_EVERY = 1000;
/** Models are looked for this often, in ms: they may be imported at any time. */
const MODELS_EVERY = 30_000;

export function announce({ connection, names, own, models, complain }: AnnouncingOptions): Announcing {
  const { nats } = connection;
  const machine = nuid.next();
  const shelf = openShelf(models, complain);
  let [said, saidAt] = ["", -Infinity];

  function say(leaving = false): void {
    const announcement: Announcement = {
      machine,
      workers: own.workers(),
      ready: own.ready(),
      device: own.device(),
      plannedBytes: own.plannedBytes(),
      largestPlan: own.largestPlan(),
      models: [...shelf.models()],
      leaving,
    };
    const text = JSON.stringify(announcement);
    const now = performance.now();
    if (!connection.connected() || text === said && now - saidAt < EVERY) return;
    [said, saidAt] = [text, now];
    nats.publish(names.machines, text);
  }

  const asked = nats.subscribe(names.rollCall, {
    callback() {
      saidAt = -Infinity;
      say();
    },
  });
  const timer = setInterval(say, LOOK_EVERY);
  say();
  return {
    close() {
      clearInterval(timer);
      shelf.close();
      if (nats.isClosed()) return;
      asked.unsubscribe();
      say(true);
    },
  };
}

/** The models of this machine, each looked into once. */
function openShelf(options: StoreOptions, complain: (text: string) => void) {
  /** By file and time of its last change: another may be imported under its name. Null for what is no model. */
  const known = new Map<string, Offered | null>();
  let found: readonly Offered[] = [];
  let looking = false;

  async function look(): Promise<void> {
    if (looking) return;
    looking = true;
    try {
      const offered: Offered[] = [];
      for (const model of await listModels(options)) {
        const one = model.path === null ? null : await open(model, model.path);
        if (one) offered.push(one);
      }
      found = offered;
    } catch (error) {
      complain(`The models of this machine cannot be looked at: ${reasonOf(error)}`);
    }
    looking = false;
  }

  async function open({ name, entry }: StoredModel, path: string): Promise<Offered | null> {
    const key = `${path} ${(await Deno.stat(path)).mtime?.getTime()}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    let offered: Offered | null = null;
    try {
      const vit = entry ? describeEntry(entry) : (await loadVit(path)).vit;
      const licence = entry?.licence ?? (await copyAt(path).catch(() => null))?.licence ?? null;
      offered = { name, vit: { ...vit, mean: [...vit.mean], deviation: [...vit.deviation] }, licence };
    } catch (error) {
      complain(`The model ${name} is offered to nobody: ${reasonOf(error)}`);
    }
    known.set(key, offered);
    return offered;
  }

  void look();
  const timer = setInterval(look, MODELS_EVERY);
  return {
    models: () => found,
    close: () => clearInterval(timer),
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
