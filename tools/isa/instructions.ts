/**
 * Machine instructions of Radeons by what they do, and what a list of them adds up to. All numbers are per lane and per issued instruction; waits, clauses, delays and
 * no-ops are no instructions.
 */

export interface Instruction {
  readonly name: string;
  readonly text: string;
  /** How often the disassembler says that it is repeated. */
  times: number;
}

/** What instructions add up to. */
export interface Tally {
  issued: number;
  fma: number;
  valu: number;
  salu: number;
  ldsLoads: number;
  ldsBytes: number;
  ldsStores: number;
  loads: number;
  loadBytes: number;
  stores: number;
  storeBytes: number;
  scratch: number;
}

export const NOTHING: Tally = {
  issued: 0,
  fma: 0,
  valu: 0,
  salu: 0,
  ldsLoads: 0,
  ldsBytes: 0,
  ldsStores: 0,
  loads: 0,
  loadBytes: 0,
  stores: 0,
  storeBytes: 0,
  scratch: 0,
};

const NOT_ISSUED = /^s_(waitcnt|wait_|clause|delay_alu|nop)/;
const FMA = /\bv_(dual_)?(fma|mad|mac)(c|ak|mk)?_(f32|f16|legacy_f32|mix\w*)|\bv_madak_f32|\bv_madmk_f32/g;
const TWICE = /\bv_(pk_fma_f32|pk_fma_f16|dot2\w*)/g;

/** Bytes a lane of a memory instruction, by the suffix of its name. */
function width(name: string): number {
  const word = /2addr(?:_stride64)?_b64|(?:read|write)2(?:st64)?_b64/.test(name)
    ? 16
    : /2addr|(?:read|write)2/.test(name)
    ? 8
    : 0;
  if (word) return word;
  const size = /_(?:b|u|i|d16_b|d16_u)(8|16|32|64|96|128)\b/.exec(name);
  if (size) return Number(size[1]) / 8;
  if (/byte/.test(name)) return 1;
  if (/short/.test(name)) return 2;
  const words = /dwordx(\d)/.exec(name);
  return words ? 4 * Number(words[1]) : 4;
}

export function add(tally: Tally, { name, text, times }: Instruction, weight: number): void {
  if (NOT_ISSUED.test(name)) return;
  const n = times * weight;
  tally.issued += n;
  tally.fma += n * ((text.match(FMA)?.length ?? 0) + 2 * (text.match(TWICE)?.length ?? 0));
  if (name.startsWith("v_") || name === "(invalid") tally.valu += n; // (invalid instruction): LLVM does not know it, ACO does
  else if (name.startsWith("s_")) tally.salu += n;
  else if (/^ds_(load|read)/.test(name)) {
    tally.ldsLoads += n;
    tally.ldsBytes += n * width(name);
  } else if (/^ds_(store|write)/.test(name)) tally.ldsStores += n;
  else if (name.startsWith("scratch_")) tally.scratch += n;
  else if (/^(buffer|global|flat)_load/.test(name)) {
    tally.loads += n;
    tally.loadBytes += n * width(name);
  } else if (/^(buffer|global|flat)_store/.test(name)) {
    tally.stores += n;
    tally.storeBytes += n * width(name);
  }
}
