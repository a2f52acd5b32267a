/**
 * Files of the cluster that this machine has at hand: fetched or made once for all who want them at the same time, and kept for the next until others need the room. Each is named by its
 * content, so that none is ever out of date. Invariant: what is held is there; what is not takes no more than the limit.
 */
import { join } from "node:path";

export interface Cache {
  /** The file of this name; `make` makes it at a path, where it is not here, and says what is to be remembered of it. Dispose of what is returned when the path is no longer needed. */
  hold(name: string, make: (path: string) => Promise<string>): Promise<Held>;
}

export interface Held extends Disposable {
  readonly path: string;
  /** What its maker said of it. */
  readonly tag: string;
}

interface Entry {
  /** Of this entry alone: while one is thrown away, the next of its name may be made. */
  readonly path: string;
  readonly made: Promise<{ readonly bytes: number; readonly tag: string }>;
  /** 0 until it is made. */
  bytes: number;
  holders: number;
}

/** Keeps at most `mostBytes` in a folder, which must be empty and this cache's alone. */
export function openCache(folder: string, mostBytes: number): Cache {
  /** The longest unused first. */
  const entries = new Map<string, Entry>();
  let total = 0;

  function begin(name: string, make: (path: string) => Promise<string>): Entry {
    const path = join(folder, crypto.randomUUID());
    const made = make(path).then(async (tag) => ({ tag, bytes: (await Deno.stat(path)).size }));
    const entry = { path, made, bytes: 0, holders: 0 };
    made.then(({ bytes }) => {
      entry.bytes = bytes;
      total += bytes;
    }, () => entries.delete(name));
    return entry;
  }

  async function makeRoom(): Promise<void> {
    for (const [name, { path, bytes, holders }] of entries) {
      if (total <= mostBytes) return;
      if (holders > 0) continue;
      entries.delete(name);
      total -= bytes;
      await Deno.remove(path).catch(() => {});
    }
  }

  return {
    async hold(name, make) {
      const entry = entries.get(name) ?? begin(name, make);
      entries.delete(name);
      entries.set(name, entry);
      entry.holders++;
      let held = true;
      const release = () => {
        if (!held) return;
        held = false;
        entry.holders--;
        void makeRoom();
      };
      try {
        const { tag } = await entry.made;
        return { path: entry.path, tag, [Symbol.dispose]: release };
      } catch (error) {
        release();
        throw error;
      }
    },
  };
}
