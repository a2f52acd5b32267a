/** Things that come close together are handled together; things that never stop coming are handled all the same. */

export interface Gatherer<T> {
  /** Something has come. */
  add(things: readonly T[]): void;
  /** Hands on now what waits. */
  flush(): void;
}

/**
 * Hands on what has gathered once nothing has come for `quiet` ms, and at the latest `longest` ms after the first of it came.
 */
export function gather<T>(
  { quiet, longest }: { quiet: () => number; longest: number },
  hand: (things: T[]) => void,
): Gatherer<T> {
  let waiting: T[] = [];
  let deadline = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function flush(): void {
    clearTimeout(timer);
    const things = waiting;
    waiting = [];
    if (things.length > 0) hand(things);
  }
  return {
    add(things) {
      if (waiting.length === 0) deadline = performance.now() + longest;
      waiting = waiting.concat(things);
      clearTimeout(timer);
      timer = setTimeout(flush, Math.min(quiet(), Math.max(0, deadline - performance.now())));
    },
    flush,
  };
}
