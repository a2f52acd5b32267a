/**
 * What is read off a kernel's machine code. The *hot loop* is the innermost loop around the most multiply-adds; loops nested in it (staging that was not unrolled) count by
 * their trips where these are constants.
 */
import { type Block, blocksOf, type Loop, loopsOf, tripsOf } from "./flow.ts";
import { add, NOTHING, type Tally } from "./instructions.ts";

export interface Measured {
  readonly wave: number;
  readonly vgprs: number;
  readonly spilledVgprs: number;
  readonly spilledSgprs: number;
  readonly scratchBytes: number;
  readonly ldsBytes: number;
  /** Waves that one SIMD holds at once, of `wave` lanes. */
  readonly wavesPerSimd: number;
  readonly instructions: number;
  /** Static counts of the whole kernel, and of what lies outside every loop: what an invocation pays once. */
  readonly all: Tally;
  readonly once: Tally;
  readonly loadsInFlight: number;
  readonly hot: Hot | null;
}

/** The hot loop. */
export interface Hot {
  /** Multiply-adds per issued instruction in those of its blocks that hold any: the arithmetic without the staging. */
  readonly core: number;
  /** The same over the whole loop, and over the loops around it; where those cannot be counted, `estimated`, it is the innermost loop alone. */
  readonly loop: number;
  readonly estimated: boolean;
  /** Multiply-adds per VALU instruction: the bound where the other units work beside. */
  readonly ofValu: number;
  readonly ldsLoadsPerFma: number;
  readonly ldsBytesPerFma: number;
  readonly globalBytesPerFma: number;
  /** Most loads from global memory that are under way at once before something waits for one. */
  readonly loadsInFlight: number;
  /** Turns of the innermost loop, null where no constant says. */
  readonly trips: number | null;
  readonly coreTally: Tally;
  readonly loopTally: Tally;
  /** How often each instruction occurs in the core, and in the innermost loop. */
  readonly coreMix: Record<string, number>;
  readonly loopMix: Record<string, number>;
}

function measureHot(blocks: readonly Block[]): Hot | null {
  const loops = loopsOf(blocks);
  const innermost = (block: number) =>
    loops.filter(({ body }) => body.has(block)).sort((a, b) => a.body.size - b.body.size)[0] ?? null;
  const own = new Map<Loop, number>();
  const blockTallies = blocks.map(({ code }) => {
    const tally = { ...NOTHING };
    code.forEach((instruction) => add(tally, instruction, 1));
    return tally;
  });
  const homes = blocks.map((_, i) => innermost(i));
  for (const [i, tally] of blockTallies.entries()) {
    const home = homes[i];
    if (home && tally.fma > 0) own.set(home, (own.get(home) ?? 0) + tally.fma);
  }
  const hot = [...own].sort((a, b) => b[1] - a[1])[0];
  if (!hot || hot[1] < 4) return null;
  const trips = new Map(loops.map((loop) => [loop, tripsOf(blocks, loop)]));
  /** A loop's body, each block as often as the loops between it and `around` turn; null where one's trips are unknown and it holds multiply-adds. */
  const bodyOf = (around: Loop): Tally | null => {
    const sum = { ...NOTHING };
    let known = true;
    for (const block of around.body) {
      let weight = 1;
      for (let loop: Loop | null = homes[block]; loop && loop !== around; loop = loop.parent) {
        const count = trips.get(loop);
        if (count === null && own.has(loop)) known = false;
        weight *= count ?? 1;
      }
      for (const key of Object.keys(sum) as (keyof Tally)[]) sum[key] += weight * blockTallies[block][key];
    }
    return known ? sum : null;
  };
  const [loop] = hot;
  const tally = bodyOf(loop)!;
  const coreTally = { ...NOTHING };
  const core = [...loop.body].filter((block) => homes[block] === loop && blockTallies[block].fma > 0);
  for (const block of core) {
    for (const key of Object.keys(coreTally) as (keyof Tally)[]) coreTally[key] += blockTallies[block][key];
  }
  let outermost = loop;
  while (outermost.parent) outermost = outermost.parent;
  const wholeTally = outermost === loop ? tally : bodyOf(outermost);
  const wide = wholeTally ?? tally;
  const mixOf = (indices: readonly number[]): Record<string, number> => {
    const mix: Record<string, number> = {};
    for (const block of indices) for (const { name, times } of blocks[block].code) mix[name] = (mix[name] ?? 0) + times;
    return mix;
  };
  return {
    core: coreTally.fma / coreTally.issued,
    loop: wide.fma / wide.issued,
    estimated: wholeTally === null,
    ofValu: wide.fma / wide.valu,
    ldsLoadsPerFma: wide.ldsLoads / wide.fma,
    ldsBytesPerFma: wide.ldsBytes / wide.fma,
    globalBytesPerFma: wide.loadBytes / wide.fma,
    loadsInFlight: inFlight([...outermost.body].sort((a, b) => a - b).map((block) => blocks[block])),
    trips: trips.get(loop) ?? null,
    coreTally,
    loopTally: wide,
    coreMix: mixOf(core),
    loopMix: mixOf([...loop.body]),
  };
}

/** Loads issued before a wait for one of them; the blocks follow each other as they lie. */
function inFlight(blocks: readonly Block[]): number {
  let [now, most] = [0, 0];
  for (const { name, text } of blocks.flatMap(({ code }) => code)) {
    if (/^(buffer|global|flat)_load/.test(name)) most = Math.max(most, ++now);
    const left = /^s_waitcnt\b.*vmcnt\((\d+)\)/.exec(text)?.[1] ?? /^s_wait_loadcnt\S*\s+(\w+)/.exec(text)?.[1];
    if (left !== undefined) now = Math.min(now, Number(left));
  }
  return most;
}

/** What isa.c printed, by SPIR-V file. */
export function readIsa(text: string): { device: string; kernels: Map<string, Measured | null> } {
  const device = /^device\t(.*)/m.exec(text)?.[1] ?? "?";
  // From GFX10 on Mesa counts waves in units of 32 lanes.
  const gcn =
    /POLARIS|VEGA|FIJI|TONGA|HAWAII|BONAIRE|ICELAND|CARRIZO|STONEY|RAVEN|RENOIR|TAHITI|PITCAIRN|VERDE|OLAND|HAINAN|KAVERI|KABINI|ARCTURUS|ALDEBARAN|MI\d/i
      .test(device);
  const kernels = new Map<string, Measured | null>();
  for (const part of text.split(/^file\t/m).slice(1)) {
    const [file, result] = part.split("\n", 1)[0].split("\t");
    if (result !== "0") {
      kernels.set(file, null);
      continue;
    }
    const stat = (name: string) => Number(new RegExp(`^stat\\t${name}\\t(.*)`, "m").exec(part)?.[1] ?? NaN);
    const wave = Number(/^wave\t(\d+)/m.exec(part)?.[1]);
    const blocks = blocksOf(/^asm\n([\s\S]*?)^end$/m.exec(part)?.[1] ?? "");
    const [all, once] = [{ ...NOTHING }, { ...NOTHING }];
    const looped = new Set(loopsOf(blocks).flatMap(({ body }) => [...body]));
    for (const [i, { code }] of blocks.entries()) {
      for (const instruction of code) {
        add(all, instruction, 1);
        if (!looped.has(i)) add(once, instruction, 1);
      }
    }
    kernels.set(file, {
      wave,
      vgprs: stat("VGPRs"),
      spilledVgprs: stat("Spilled VGPRs"),
      spilledSgprs: stat("Spilled SGPRs"),
      scratchBytes: stat("Scratch size"),
      ldsBytes: stat("LDS size"),
      wavesPerSimd: gcn ? stat("Subgroups per SIMD") : stat("Subgroups per SIMD") / (wave / 32),
      instructions: stat("Instructions"),
      all,
      once,
      loadsInFlight: inFlight(blocks),
      hot: measureHot(blocks),
    });
  }
  return { device, kernels };
}
