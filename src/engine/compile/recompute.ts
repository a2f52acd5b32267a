/**
 * Recomputing: where a step would need much memory, a tensor that lies idle for long and is cheap to compute is not kept but computed again when it is next read.
 *
 * A backward pass reads what the forward pass made: the results of convolutions, which cost much, and what was made of them by scalar chains, resampling and joining, which costs one
 * walk through memory. So the first stay and the second are made anew. At the step that holds most, the largest of the idle and cheap are let go, until what is held fits the budget
 * or nothing more can be let go. Recomputing is the same kernels over the same operands: no number changes. Invariants: same meaning; every operand is still stored or a view, as
 * materialise.ts left it; a graph within the budget is returned as it is.
 */
import type { Apply, Graph, Pass, Value } from "../ir/graph.ts";
import { apply, inScope, rebuild, withInputs } from "../ir/graph.ts";
import { type Lives, livesOf, planMemory, scratchBytes, type Storage } from "./plan.ts";
import { baseOf, isView } from "./views.ts";

/** What costs about as much as reading and writing it. */
const CHEAP: ReadonlySet<string> = new Set([
  "elementwise",
  "concat",
  "fill",
  "embed",
  "crop",
  "place",
  "pad_reflection",
  "fold_reflection",
  "resample",
  "resample_adjoint",
]);

/** Smaller shares of the budget are not worth a dispatch. */
const LEAST_SHARE = 1 / 256;
/** Rounds of letting go; each works on what the one before left. */
const MOST_ROUNDS = 12;
/** Of the budget, what values may take: buffers do not hold them without gaps. */
const FILLED = 0.9;

/** Keeps what a program holds beside its states and results within `budget` bytes, as far as recomputing can. */
export function recomputeAbove(budget: number): Pass {
  return {
    name: "recompute",
    run(graph) {
      if (scratchBytes(planMemory(graph, "io", Infinity)) <= budget) return graph;
      let [best, least] = [graph, Infinity];
      for (let [now, round] = [graph, 0]; round < MOST_ROUNDS; round++) {
        const survey = surveyOf(now);
        const most = survey.held.reduce((a, b) => Math.max(a, b), 0);
        if (most >= least) break;
        [best, least] = [now, most];
        const releases = chooseReleases(survey, budget * FILLED);
        if (releases.size === 0) break;
        now = rebuiltWith(now, survey, releases);
      }
      return best;
    },
  };
}

interface Survey extends Lives {
  /** The storages that are neither states nor inputs nor results. */
  readonly scratch: readonly Storage[];
  /** Their bytes at each step. */
  readonly held: Float64Array;
  /** By owner: the values in its place, and the steps that read or write them. */
  readonly members: ReadonlyMap<Value, readonly Apply[]>;
  readonly touches: ReadonlyMap<Value, readonly number[]>;
  /** The owners of places of which all costs no more than it weighs. */
  readonly cheap: ReadonlySet<Value>;
}

function surveyOf(graph: Graph): Survey {
  const lives = livesOf(graph);
  const { order, storages, settle } = lives;
  const results = new Set([...graph.roots.values()].map(baseOf));
  const scratch = [...storages.values()].filter(({ owner }) => owner.kind === "apply" && !results.has(owner));
  const held = new Float64Array(order.length);
  for (const { first, last, bytes } of scratch) for (let step = first; step <= last; step++) held[step] += bytes;
  const members = new Map<Value, Apply[]>();
  const touches = new Map<Value, number[]>();
  const add = <Item>(lists: Map<Value, Item[]>, owner: Value, item: Item) => {
    const list = lists.get(owner);
    if (list) list.push(item);
    else lists.set(owner, [item]);
  };
  for (const [step, value] of order.entries()) {
    add(members, settle(value).owner, value);
    const owners = new Set([value, ...value.inputs.map(baseOf)].map((base) => settle(base).owner));
    for (const owner of owners) add(touches, owner, step);
  }
  const cheap = new Set(
    scratch.map(({ owner }) => owner).filter((owner) => members.get(owner)!.every(({ op }) => CHEAP.has(op.name))),
  );
  return { ...lives, scratch, held, members, touches, cheap };
}

/** A storage that is let go after step `after`, and computed again for step `next`. */
interface Release {
  readonly storage: Storage;
  readonly after: number;
  readonly next: number;
}

/** What to let go, by owner, so that no step holds more than `most` bytes: at the step that holds most, what frees most. */
function chooseReleases(survey: Survey, most: number): Map<Value, Release> {
  const { scratch, touches, cheap } = survey;
  const held = survey.held.slice();
  const candidates = scratch.filter(({ owner, bytes }) => bytes >= most * LEAST_SHARE && cheap.has(owner));
  const releases = new Map<Value, Release>();
  const hopeless = new Set<number>();
  for (;;) {
    let peak = -1;
    for (let step = 0; step < held.length; step++) {
      if (held[step] > most && !hopeless.has(step) && (peak < 0 || held[step] > held[peak])) peak = step;
    }
    if (peak < 0) return releases;
    const idle = candidates.filter(({ owner, first, last }) =>
      first < peak && peak < last && !releases.has(owner) && !touches.get(owner)!.includes(peak)
    );
    const ways = idle.map((storage) => {
      const steps = touches.get(storage.owner)!;
      const [after, next] = [steps.findLast((step) => step < peak)!, steps.find((step) => step > peak)!];
      return { storage, after, next, gain: gainOf(survey, storage, { peak, next }) };
    });
    const [best] = ways.filter(({ gain }) => gain > 0).sort((a, b) => b.gain - a.gain || b.next - a.next);
    if (!best) {
      hopeless.add(peak);
      continue;
    }
    releases.set(best.storage.owner, best);
    for (let step = best.after + 1; step < best.next; step++) held[step] -= best.storage.bytes;
  }
}

/** Bytes that are free at the peak if a storage is computed again at step `next`: its own, without those of what has to be kept for that. */
function gainOf(
  { storages, members, cheap, settle }: Survey,
  { owner, bytes }: Storage,
  { peak, next }: { readonly peak: number; readonly next: number },
): number {
  let gain = bytes;
  const seen = new Set([owner]);
  const stack = [owner];
  while (stack.length > 0) {
    for (const input of members.get(stack.pop()!)!.flatMap(({ inputs }) => inputs)) {
      const { owner: from } = settle(baseOf(input));
      const life = storages.get(from);
      if (seen.has(from) || from.kind !== "apply" || !life || life.last >= next) continue;
      seen.add(from);
      if (cheap.has(from)) stack.push(from);
      else if (life.last < peak) gain -= life.bytes;
    }
  }
  return gain;
}

/** The graph in which whoever reads a released storage after its release reads what is computed anew, just before the first of them. */
function rebuiltWith(graph: Graph, survey: Survey, releases: ReadonlyMap<Value, Release>): Graph {
  const { order, storages, settle, cheap } = survey;
  const steps = new Map<Value, number>(order.map((value, step) => [value, step]));
  const now = new Map<Value, Value>();
  const again = new Map<Value, Value>();

  /** What stands for a value that is read at a step; `own`: what was computed anew for the release at hand alone. */
  function at(value: Value, step: number, own: Map<Value, Value>): Value {
    if (value.kind !== "apply") return now.get(value)!;
    if (isView(value)) {
      const from = at(value.inputs[0], step, own);
      return from === now.get(value.inputs[0])
        ? now.get(value)!
        : inScope(value.scope, () => withInputs(value, [from]));
    }
    const { owner } = settle(value);
    const release = releases.get(owner);
    // A piece that comes later is there.
    if (release && step > release.after && steps.get(value)! <= release.after) return anew(value, release.next, again);
    const gone = own !== again && storages.get(owner)!.last < step;
    return gone && cheap.has(owner) ? anew(value, step, own) : now.get(value)!;
  }

  function anew(value: Apply, step: number, made: Map<Value, Value>): Value {
    const known = made.get(value);
    if (known) return known;
    const own = made === again ? new Map<Value, Value>() : made;
    const copy = inScope(
      value.scope,
      () => apply(value.op, value.inputs.map((from) => at(from, step, own)), value.attrs),
    );
    made.set(value, copy);
    return copy;
  }

  return rebuild(graph, (value, inputs) => {
    const step = steps.get(value);
    const result = step === undefined
      ? withInputs(value, inputs)
      : withInputs(value, (value as Apply).inputs.map((from) => at(from, step, again)));
    now.set(value, result);
    return result;
  });
}
