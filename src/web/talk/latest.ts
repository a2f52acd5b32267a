/** One task at a time, the newest: asking again ends the one before. For what is asked in quick succession and only the last answer counts. No DOM, no network. */

/** What became of a task: its value, or null when a newer one took its place. */
export type Latest = <T>(task: (signal: AbortSignal) => Promise<T>) => Promise<{ readonly value: T } | null>;

/** Opens a line in which only the newest task counts. A task that fails after it was replaced is forgotten, one that fails while it counts rejects. */
export function openLatest(): Latest {
  let current = new AbortController();
  return async (task) => {
    current.abort();
    const { signal } = current = new AbortController();
    try {
      const value = await task(signal);
      return signal.aborted ? null : { value };
    } catch (error) {
      if (signal.aborted) return null;
      throw error;
    }
  };
}
