// Which of a file's tensors are the network that is wanted, and what they are called without their wrappings: training programs save teacher beside
// student, averaged beside trained weights, heads and counters beside the network. Only names are looked at, nothing is read; what the names
// mean is vit_names.ts's. Invariant: what is taken is one whole network and never parts of two, and whatever is chosen or left out is said.

import type { Contents, Stored } from "./contents.ts";
import { listNames, quote, WeightsError } from "./tensor.ts";

/** `network` is what the file calls the one that was taken, null where it has only one. `remarks`: a sentence each. */
export type Taken = {
  readonly tensors: ReadonlyMap<string, Stored>;
  readonly network: string | null;
  readonly remarks: readonly string[];
};

/** Left behind by wrappers of modules, anywhere in a name: data-parallel training, torch.compile, activation checkpointing, FSDP, Lightning with DeepSpeed. */
const TRANSPARENT = new Set([
  "module",
  "_orig_mod",
  "_checkpoint_wrapped_module",
  "_fsdp_wrapped_module",
  "_forward_module",
]);

/** Prefixes that say nothing; `model` is also what transformers 5 calls the encoder of DINOv3, of some names and not of others. */
const DULL = new Set(["model", "backbone", "vit", "deit", "dinov2", "dinov2_with_registers", "dinov3", "dinov3_vit"]);

/** Where a network may lie that has no [CLS] to know it by. */
const WRAPPING = new Set([...DULL, "teacher", "student", "state_dict", "state_dict_ema", "model_ema", "ema"]);

/** Heads and leftovers of training that features do not need. `fc_norm` and `local_cls_norm` stand behind the last block. */
const LEFTOVER =
  /^(?:heads?|head_dist|\w+_head|fc|fc_norm|pooler|\w*classifier|pre_logits|predictor|projector|prototypes|decoder(?:_\w+)?|local_cls_norm)\.|^(?:embeddings\.)?mask_token$|^(?:masked_embed|decoder_pos_embed)$|(?:^|\.)(?:num_batches_tracked|n_averaged|relative_position_index|total_ops|total_params)$/;

/** By the words of its path, the first that is there decides: a lower rank is taken before a higher one. */
const RANKS: readonly (readonly [RegExp, number])[] = [
  [/^(?:optim|optimizer|optimizers|exp|avg|gram)$/, 5],
  [/^teacher$/, 0],
  [/^(?:ema|averaged|swa)$/, 1],
  [/^student$/, 3],
  [/^(?:momentum|target|k)$/, 4],
];
const USUAL_RANK = 2;

/** No network has longer names, and no file more networks: what a forged file can make of them stays small. */
const NAME_LIMIT = 300;
const HOME_LIMIT = 64;

/** A name without what says nothing before it, and without the chunks that DINOv2 trains its blocks in. */
function plain(segments: readonly string[]): string {
  const first = segments.findIndex((segment) => !DULL.has(segment));
  return segments.slice(Math.max(0, first)).join(".").replace(/^blocks\.\d+\.(?=\d+\.)/, "blocks.");
}

/**
 * The network `wanted` (as the file calls it, or one word of that: teacher, student, ema, ...), or without that word the one that is meant to be
 * used: teacher before student, averaged before trained weights, base encoder before momentum encoder.
 * @throws WeightsError naming `label` if the file has no such network, or two tensors get the same name
 */
export function takeNetwork({ tensors, remarks }: Contents, label: string, wanted?: string): Taken {
  const names = [...tensors.keys()].filter((name) => name.length <= NAME_LIMIT).map((name) => ({
    name,
    segments: name.split(".").filter((segment) => !TRANSPARENT.has(segment)),
  }));
  const homes = findHomes(names.map(({ segments }) => segments));
  const called = callHomes(homes);
  if (homes.length > HOME_LIMIT) {
    throw new WeightsError(
      `Cannot use ${label}: it holds ${homes.length} networks, more than ${HOME_LIMIT}. Use a file with one network.`,
    );
  }
  const home = choose(homes, { called, label, wanted });
  const members = new Map<string, string>(); // plain name -> the file's
  for (const { name, segments } of names) {
    if (longestHome(homes, segments) !== home) continue;
    const short = plain(segments.slice(lengthOf(home)));
    const other = members.get(short);
    if (other !== undefined) {
      throw new WeightsError(
        `Cannot use ${label}: two of its tensors are both ${quote(short)}: ${quote(other)} and ${quote(name)}. ` +
          `Use a file with one network, saved alone: torch.save(dict(model.state_dict()), "weights.pth").`,
      );
    }
    members.set(short, name);
  }
  const others = homes.filter((one) => one !== home).map((one) => called.get(one) ?? one);
  const said = [...remarks];
  if (others.length > 0 && wanted === undefined) {
    const rest = others.length === 1 ? "takes the other" : "take the others";
    said.push(
      `${label} holds ${homes.length} networks: ${quote(called.get(home) ?? "")} is taken, ` +
        `${others.slice(0, 8).map((name) => `--network ${name}`).join(", ")} ${rest}`,
    );
  }
  const kept = [...members].filter(([short]) => !LEFTOVER.test(short));
  const left = [...members].flatMap(([short, name]) => LEFTOVER.test(short) ? [name] : []);
  if (left.length > 0) said.push(`${label} also holds what no feature needs, it is left out: ${listNames(left)}`);
  const taken = kept.map(([short, name]): [string, Stored] => [short, tensors.get(name)!]);
  return { tensors: new Map(taken), network: others.length > 0 ? called.get(home) ?? null : null, remarks: said };
}

/**
 * The paths under which networks lie: whatever stands before a [CLS] token. A file without any gets the one path that wraps most of its tensors,
 * so that an error can speak of those.
 */
function findHomes(names: readonly (readonly string[])[]): readonly string[] {
  const homes = new Set<string>();
  for (const segments of names) {
    if (segments[segments.length - 1] !== "cls_token") continue;
    const before = segments.slice(0, -1);
    homes.add((before[before.length - 1] === "embeddings" ? before.slice(0, -1) : before).join("."));
  }
  if (homes.size > 0) return [...homes];
  const counts = new Map<string, number>();
  for (const segments of names) {
    const end = segments.findIndex((segment) => !WRAPPING.has(segment));
    const path = segments.slice(0, Math.max(0, end)).join(".");
    counts.set(path, (counts.get(path) ?? 0) + 1);
  }
  const paths = [...counts.keys()].toSorted((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0));
  return paths.length === 0 ? [""] : paths.slice(0, HOME_LIMIT);
}

/** What to call each: its path without what all have in common and what says nothing. */
function callHomes(homes: readonly string[]): ReadonlyMap<string, string> {
  const paths = homes.map((home) => home.split("."));
  const common = paths[0].findIndex((segment, i) => paths.some((path) => path[i] !== segment));
  const names = paths.map((path) => {
    const own = path.slice(Math.max(0, common));
    const telling = own.filter((segment) => !DULL.has(segment));
    return (telling.length > 0 ? telling : own.slice(-1)).join(".") || "main";
  });
  const unique = new Set(names).size === names.length;
  return new Map(homes.map((home, i) => [home, unique ? names[i] : home || "main"]));
}

function choose(
  homes: readonly string[],
  { called, label, wanted }: { called: ReadonlyMap<string, string>; label: string; wanted: string | undefined },
): string {
  if (wanted === undefined) return homes.toSorted((a, b) => rankOf(a) - rankOf(b))[0]; // of equals the first: sorting is stable
  const exact = homes.filter((home) => called.get(home) === wanted || home === wanted);
  const found = exact.length > 0 ? exact : homes.filter((home) => wordsOf(home).includes(wanted));
  if (found.length === 1) return found[0];
  const names = Array.from(called.values(), (name) => name);
  const why = found.length > 1
    ? `${quote(wanted)} may be each of ${listNames(found.map((home) => called.get(home) ?? home), 8)}`
    : names.length === 1
    ? `it holds one network and not several`
    : `it holds ${listNames(names, 8)}`;
  const remedy = names.length === 1
    ? "Use it without --network, or name the file that it was made from"
    : "Use the name of one of them";
  throw new WeightsError(`Cannot take the network ${quote(wanted)} of ${label}: ${why}. ${remedy}.`);
}

function rankOf(home: string): number {
  const words = wordsOf(home);
  return RANKS.find(([pattern]) => words.some((word) => pattern.test(word)))?.[1] ?? USUAL_RANK;
}

const wordsOf = (home: string) => [...home.split("."), ...home.split(/[._]/)];

const lengthOf = (home: string) => home === "" ? 0 : home.split(".").length;

function longestHome(homes: readonly string[], segments: readonly string[]): string | undefined {
  const path = `${segments.join(".")}.`;
  return homes.filter((home) => home === "" || path.startsWith(`${home}.`))
    .toSorted((a, b) => b.length - a.length)[0];
}
