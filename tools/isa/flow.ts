/** A kernel's disassembly as basic blocks with edges, its natural loops (by dominators: Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"), and how often they turn. */
import type { Instruction } from "./instructions.ts";

export interface Block {
  readonly label: string;
  readonly code: Instruction[];
  readonly next: number[];
  readonly before: number[];
}

export interface Loop {
  readonly head: number;
  readonly body: ReadonlySet<number>;
  parent: Loop | null;
}

const ENDS = /^s_(branch|endpgm|setpc_b64)/;
const JUMPS = /^s_c?branch/;

export function blocksOf(assembly: string): Block[] {
  const blocks: Block[] = [];
  let open: Block | null = null;
  const begin = (label: string) => {
    open = { label, code: [], next: [], before: [] };
    blocks.push(open);
    return open;
  };
  for (const line of assembly.split("\n")) {
    const label = /^(BB\d+):/.exec(line)?.[1];
    if (label) {
      begin(label);
      continue;
    }
    const repeated = /\(then repeated (\d+) times\)/.exec(line);
    if (repeated) {
      const last = blocks.at(-1)!.code.at(-1)!;
      last.times += Number(repeated[1]);
      continue;
    }
    const text = line.replace(/;.*/, "").trim();
    if (!text) continue;
    const name = text.split(/\s/)[0];
    const block: Block = open ?? begin("");
    block.code.push({ name, text, times: 1 });
    if (JUMPS.test(name) || ENDS.test(name)) open = null;
  }
  const at = new Map(blocks.map(({ label }, i) => [label, i]));
  for (const [i, block] of blocks.entries()) {
    const last = block.code.at(-1);
    const target = last && JUMPS.test(last.name) ? at.get(last.text.split(/\s+/)[1]) : undefined;
    if (last && JUMPS.test(last.name) && target === undefined) throw new Error(`no target: ${last.text}`);
    if (target !== undefined) block.next.push(target);
    if (!(last && ENDS.test(last.name)) && i + 1 < blocks.length) block.next.push(i + 1);
  }
  for (const [i, block] of blocks.entries()) block.next.forEach((next) => blocks[next].before.push(i));
  return blocks;
}

/** Natural loops, by header; a loop's parent is the smallest that holds it. */
export function loopsOf(blocks: readonly Block[]): Loop[] {
  // Dominators, by iteration (Cooper, Harvey, Kennedy).
  const order: number[] = [];
  const seen = new Set<number>();
  const visit = (start: number) => {
    const stack: [number, number][] = [[start, 0]];
    seen.add(start);
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const [block, index] = top;
      if (index === blocks[block].next.length) {
        order.push(block);
        stack.pop();
        continue;
      }
      top[1]++;
      const next = blocks[block].next[index];
      if (!seen.has(next)) {
        seen.add(next);
        stack.push([next, 0]);
      }
    }
  };
  visit(0);
  const rank = new Map(order.map((block, i) => [block, i]));
  const dominator = new Map<number, number>([[0, 0]]);
  const meet = (a: number, b: number): number => {
    while (a !== b) {
      while (rank.get(a)! < rank.get(b)!) a = dominator.get(a)!;
      while (rank.get(b)! < rank.get(a)!) b = dominator.get(b)!;
    }
    return a;
  };
  for (let changed = true; changed;) {
    changed = false;
    for (const block of order.toReversed()) {
      if (block === 0) continue;
      const known = blocks[block].before.filter((before) => dominator.has(before));
      const found = known.reduce(meet);
      if (dominator.get(block) !== found) {
        dominator.set(block, found);
        changed = true;
      }
    }
  }
  const dominates = (a: number, b: number): boolean => {
    for (; b !== a; b = dominator.get(b)!) if (b === 0) return false;
    return true;
  };
  const bodies = new Map<number, Set<number>>();
  for (const from of order) {
    for (const head of blocks[from].next) {
      if (!dominates(head, from)) continue;
      const body = bodies.get(head) ?? new Set([head]);
      bodies.set(head, body);
      const queue = [from];
      while (queue.length > 0) {
        const block = queue.pop()!;
        if (body.has(block)) continue;
        body.add(block);
        queue.push(...blocks[block].before.filter((before) => rank.has(before)));
      }
    }
  }
  const loops: Loop[] = [...bodies].map(([head, body]) => ({ head, body, parent: null }));
  for (const loop of loops) {
    const around = loops.filter((other) => other !== loop && other.body.has(loop.head));
    loop.parent = around.sort((a, b) => a.body.size - b.body.size)[0] ?? null;
  }
  return loops;
}

const number = (text: string | undefined): number | null =>
  text && /^-?(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) | 0 : null;
const operands = ({ text }: Instruction): string[] =>
  text.split(/\s+/).slice(1).join(" ").split(",").map((each) => each.trim());

const constantIn = (instruction: Instruction): number | null =>
  operands(instruction).slice(1).map(number).find((each) => each !== null) ?? null;

/** The constant in the last instruction of a kind that sets a register, at or above a block. */
function constantOf(blocks: readonly Block[], from: number, register: string, kind: RegExp): number | null {
  for (let at = from; at >= 0; at--) {
    const set = blocks[at].code.findLast((each) => kind.test(each.name) && operands(each)[0] === register);
    if (set) return constantIn(set);
  }
  return null;
}

/**
 * How often a loop's body runs, if a counter with constant start, step and end says so; null if not. A counter in a vector register
 * is taken to start below its step, as `for (var i = local_index; i < 256; i += 64)` does. The counters with which naga bounds every
 * loop (they count down from 2^32 - 1) are none of these.
 */
export function tripsOf(blocks: readonly Block[], loop: Loop): number | null {
  const inside = [...loop.body].flatMap((block) => blocks[block].code);
  const outside = blocks[loop.head].before.filter((before) => !loop.body.has(before));
  let best: number | null = null;
  for (const block of loop.body) {
    const leaves = blocks[block].next.some((next) => !loop.body.has(next));
    for (const compare of blocks[block].code) {
      const scalar = leaves && /^s_(cmpk?)_(lt|le|gt|ge|lg|eq)_[iu]32/.test(compare.name);
      if (!scalar && !/^v_cmpx?_(lt|le|gt|ge)_[iu]32/.test(compare.name)) continue;
      const own = operands(compare);
      const counter = own.find((each) => (scalar ? /^s\d+$/ : /^v\d+$/).test(each));
      const limit = own.find((each) => each !== counter && each !== "vcc" && !each.startsWith("s["));
      if (!counter || !limit) continue;
      // A limit that is the smaller of a constant and something else is the constant: all turns but the last have it.
      const end = number(limit) ?? constantOf(blocks, block, limit, /^s_(mov|min)/);
      if (end === null || end <= 0 || end > 4096) continue;
      const steps = inside.filter((each) =>
        /^(s_add|v_add)\w*_[iu]32/.test(each.name) && operands(each)[0] === counter
      );
      const step = steps.length === 1 && operands(steps[0]).includes(counter, 1) ? constantIn(steps[0]) : null;
      if (!step || step < 0) continue;
      const start = scalar ? constantOf(blocks, outside[0], counter, /^s_mov/) : 0;
      if (start === null) continue;
      const trips = Math.ceil((end - start) / step);
      if (trips > 0 && (best === null || trips < best)) best = trips;
    }
  }
  return best;
}
