/**
 * Which GPU machines there are, as they say themselves, every few seconds and when they are asked: nothing of it is kept anywhere, and whoever falls silent is forgotten. Only which models there
 * were is remembered: jobs can be made for them while their machines are away.
 */
import { z } from "zod";
import { deviceSchema, vitSchema } from "../../model/messages.ts";
import type { Connection } from "../connection.ts";
import type { Names } from "../streams.ts";

const count = z.number().min(0);

const offeredSchema = z.object({
  name: z.string(),
  vit: vitSchema,
  licence: z.string().nullable(),
});
/** A model that a machine has. */
export type Offered = z.infer<typeof offeredSchema>;

/** Later versions may say more. */
const announcementSchema = z.object({
  /** Another for every process. */
  machine: z.string(),
  workers: count,
  ready: count,
  device: deviceSchema.nullable(),
  plannedBytes: count,
  largestPlan: count,
  models: z.array(offeredSchema),
  leaving: z.boolean(),
});
export type Announcement = z.infer<typeof announcementSchema>;

export interface Roll {
  /** Those that are there. */
  present(): readonly Announcement[];
  /** What they have, or, while none is there, what those had that were. */
  models(): ReadonlyMap<string, Offered>;
  close(): void;
}

/** What a machine says holds so long, in ms: as long as thrice the pause between two of its words. */
const HOLDS = 15_000;
/** And what models it had is remembered so long, in ms, or until others speak. */
const REMEMBERED = 3_600_000;

/** Asks at once, and listens from now on. */
export function openRoll({ connection: { nats }, names, complain }: {
  readonly connection: Pick<Connection, "nats">;
  readonly names: Names;
  complain(text: string): void;
}): Roll {
  const machines = new Map<string, { readonly said: Announcement; readonly at: number }>();
  const misunderstood = new Set<string>();
  const subscription = nats.subscribe(names.machines, {
    callback(error, message) {
      if (error) return complain(`GPU machines cannot be heard: ${error.message}`);
      const { success, data, error: why } = announcementSchema.safeParse(parsed(message.string()));
      if (success) note(data);
      else if (!misunderstood.has(why.message)) {
        misunderstood.add(why.message);
        complain(`A GPU machine, of another version it seems, says what cannot be understood: ${z.prettifyError(why)}`);
      }
    },
  });
  nats.publish(names.rollCall);

  function note(said: Announcement): void {
    const now = performance.now();
    for (const [machine, { at }] of machines) if (now - at > REMEMBERED) machines.delete(machine);
    machines.set(said.machine, { said, at: now });
  }

  function present(): Announcement[] {
    const oldest = performance.now() - HOLDS;
    return [...machines.values()].filter(({ said, at }) => at >= oldest && !said.leaving).map(({ said }) => said);
  }

  return {
    present,
    models() {
      const here = present();
      const all = here.length > 0 ? here : [...machines.values()].map(({ said }) => said);
      return new Map(all.flatMap(({ models }) => models.map((model) => [model.name, model] as const)));
    },
    close: () => subscription.unsubscribe(),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
