/**
 * How fast a run goes and how long it will still take, from what has been seen of it. The first run of a program is slow (drivers
 * compile kernels when they are first dispatched), so batches that hold one are left out; what remains is averaged over the last
 * hundred steps, whole-image steps, previews and checkpoints included, because they will come again.
 */
const WINDOW = 100;

export interface Pace {
  /** `count` steps took `seconds`; `fresh`: a program ran for the first time in them. */
  add(count: number, seconds: number, fresh: boolean): void;
  /** Null until a step has been timed that nothing disturbed. */
  stepsPerSecond(): number | null;
  secondsLeft(steps: number): number | null;
}

export function openPace(): Pace {
  const seen: { count: number; seconds: number }[] = [];
  const rate = () => {
    if (seen.length === 0) return null;
    const sum = (of: "count" | "seconds") => seen.reduce((total, batch) => total + batch[of], 0);
    return sum("count") / Math.max(sum("seconds"), 1e-9);
  };
  return {
    add(count, seconds, fresh) {
      if (fresh || count === 0) return;
      seen.push({ count, seconds });
      while (seen.reduce((total, batch) => total + batch.count, 0) - seen[0].count >= WINDOW) seen.shift();
    },
    stepsPerSecond: rate,
    secondsLeft(steps) {
      const perSecond = rate();
      return perSecond === null ? null : steps / perSecond;
    },
  };
}
