/** What has to survive a reload, in the browser's own database. Where it is switched off or full nothing is kept, and nothing else breaks. One table of names and values. */

let opening: Promise<IDBDatabase | null> | null = null;

function open(): Promise<IDBDatabase | null> {
  opening ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open("splice", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("kept");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
      request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
  return opening;
}

async function transact(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
  const database = await open();
  if (!database) return undefined;
  return new Promise((resolve) => {
    try {
      const transaction = database.transaction("kept", mode);
      const request = work(transaction.objectStore("kept"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => resolve(undefined);
      transaction.onerror = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
}

/** The kept value, undefined if there is none. */
export function recall(name: string): Promise<unknown> {
  return transact("readonly", (store) => store.get(name));
}

export async function keep(name: string, value: unknown): Promise<void> {
  await transact("readwrite", (store) => value === null ? store.delete(name) : store.put(value, name));
}

/** For what is small, JSON, and may be followed by a reload in the same moment: on the disk when this returns. */
export function keepAtOnce(name: string, value: unknown): void {
  try {
    localStorage.setItem(`splice.${name}`, JSON.stringify(value));
  } catch {
    // Switched off or full: nothing is kept.
  }
}

/** What `keepAtOnce` kept, undefined if there is nothing. */
export function recallAtOnce(name: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(`splice.${name}`) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}
