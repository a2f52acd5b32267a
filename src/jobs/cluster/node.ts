/** What a node that answers questions about jobs is made of: the roster, what keeps it true, the events that are read again, the store over all of it, and housekeeping. */
import type { JobStore } from "../model/ports.ts";
import type { Connection } from "./connection.ts";
import { type Housekeeping, type HousekeepingOptions, openHousekeeping } from "./housekeeping.ts";
import type { Log } from "./log.ts";
import { openRemoval } from "./removal.ts";
import { openReplay } from "./replay.ts";
import { openRoster } from "./roster.ts";
import { openStore } from "./store.ts";
import type { Names } from "./streams.ts";
import { openTail } from "./tail.ts";

export interface NodeOptions extends Pick<HousekeepingOptions, "mourning" | "patience"> {
  readonly connection: Connection;
  readonly names: Names;
  readonly log: Log;
  readonly now?: () => Date;
  complain(message: string): void;
}

export interface Node {
  readonly store: JobStore;
  readonly housekeeping: Housekeeping;
  close(): Promise<void>;
}

/** Resolves once all jobs are read. @throws Fault unavailable */
export async function openNode(options: NodeOptions): Promise<Node> {
  const { connection, names, log, complain } = options;
  const roster = openRoster(complain);
  const replay = openReplay(log);
  const removal = openRemoval(connection, names);
  const tail = await openTail({ connection, names, log, roster, onMessage: replay.note, complain });
  const store = openStore({ ...options, roster, replay, removal });
  const housekeeping = openHousekeeping({ ...options, roster, removal, tail });
  return {
    store,
    housekeeping,
    async close() {
      housekeeping.close();
      await tail.close();
    },
  };
}
