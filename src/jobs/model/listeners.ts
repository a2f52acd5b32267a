/** Those who want to be told of something. What one of them does wrong reaches neither the others nor whoever tells. */
export interface Listeners<T> {
  /** A listener that is added twice is told twice. Returns what ends it. */
  add(listener: (event: T) => void): () => void;
  tell(event: T): void;
}

/** `complain` is told of what a listener throws; `of` says whose listeners they are. */
export function openListeners<T>(of: string, complain: (message: string) => void): Listeners<T> {
  const listeners = new Set<(event: T) => void>();
  return {
    add(listener) {
      const one = (event: T) => listener(event); // wrapped, so that each addition can be ended by itself
      listeners.add(one);
      return () => void listeners.delete(one);
    },
    tell(event) {
      for (const listener of listeners) {
        try {
          listener(event);
        } catch (error) {
          complain(`A listener of ${of} failed: ${error instanceof Error ? error.stack : error}`);
        }
      }
    },
  };
}
