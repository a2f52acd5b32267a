// Just enough pickle to read PyTorch checkpoints: a stack machine for the data opcodes of Python's pickle, protocols 2 to 5 (0 and 1 cannot
// hold a storage). It is not a general unpickler, and knows nothing of torch: it runs no code but the callables its caller lists by full
// name. Invariant: every opcode consumes at least one byte and creates at most one value, so time and memory are bounded by the pickle's
// size; any other global, class instance, extension or buffer is refused by name. (The package pickleparser was tried: it lets a negative
// length move the cursor back, and runs until memory ends.)

import { messageOf, quote, WeightsError } from "./tensor.ts";

/** A name a pickle may mention; `call`, if there, is what REDUCE runs: it checks its arguments itself and throws `WeightsError` or `Error`. */
export type PickleGlobal = { readonly name: string; readonly call?: (args: readonly unknown[]) => unknown };

/** `globals` by full name ("collections.OrderedDict"); `persistent` resolves a persistent id (PyTorch: a storage). */
export type PickleOptions = {
  readonly globals: ReadonlyMap<string, PickleGlobal>;
  readonly persistent: (id: unknown) => unknown;
};

const BYTE_LIMIT = 8 * 2 ** 20; // ViT-B's pickle has 60 kB, a whole training checkpoint 400 kB
const STEP_LIMIT = 1_000_000;

/** Opcodes that make objects of classes or reach outside the pickle. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  [0x6f, "OBJ"],
  [0x81, "NEWOBJ"],
  [0x92, "NEWOBJ_EX"],
  [0x50, "PERSID"],
  [0x82, "EXT1"],
  [0x83, "EXT2"],
  [0x84, "EXT4"],
  [0x97, "NEXT_BUFFER"],
  [0x98, "READONLY_BUFFER"],
]);

/**
 * The value a pickle describes: dicts as Maps, lists and tuples as arrays, ints as numbers (bigints beyond 2^53), None as null, a listed
 * global as the very object of `options.globals`.
 * @throws WeightsError naming `label` if the pickle is damaged, too large, or asks for anything that is not listed.
 */
export function unpickle(bytes: Uint8Array, label: string, options: PickleOptions): unknown {
  try {
    if (bytes.length > BYTE_LIMIT) {
      throw new Forbidden(`has ${bytes.length} bytes, and no weights need more than ${BYTE_LIMIT}`);
    }
    return run(new Machine(bytes, options));
  } catch (cause) {
    if (cause instanceof WeightsError) throw cause;
    if (!(cause instanceof Forbidden)) {
      throw new WeightsError(
        `Cannot read ${label}: its pickle is damaged: ${messageOf(cause)}. Fetch the file again.`,
        { cause },
      );
    }
    throw new WeightsError(
      `Cannot read ${label}: its pickle ${cause.message}. Nothing of it was run. ` +
        `If you trust the file, load it with PyTorch and save its tensors alone: torch.save(dict(model.state_dict()), "weights.pth").`,
      { cause },
    );
  }
}

/** Inside this file only: a well-formed pickle wants something it may not have. Its message completes "its pickle ...". */
class Forbidden extends Error {}

function run(machine: Machine): unknown {
  for (let steps = 0; steps < STEP_LIMIT; steps++) {
    const opcode = machine.u8();
    if (opcode === 0x2e) return machine.pop(); // STOP
    step(machine, opcode);
  }
  throw new Forbidden(`has more than ${STEP_LIMIT} instructions, which no weights need`);
}

/** One instruction. The letters are pickletools' own codes, with its names beside them. */
function step(m: Machine, opcode: number): void {
  switch (String.fromCharCode(opcode)) {
    case "\x80": // PROTO
      return m.expect(m.u8() <= 5, "a protocol newer than 5");
    case "\x95": // FRAME: only a hint for buffering
      return void m.slice(8);

    case "(": // MARK
      return m.mark();
    case "1": // POP_MARK
      return void m.popMark();
    case "0": // POP
      return void m.pop();
    case "2": // DUP
      return m.push(m.top());
    case "q": // BINPUT
      return m.put(m.u8());
    case "r": // LONG_BINPUT
      return m.put(m.u32());
    case "\x94": // MEMOIZE
      return m.put(m.memo.size);
    case "h": // BINGET
      return m.get(m.u8());
    case "j": // LONG_BINGET
      return m.get(m.u32());

    case "N": // NONE
      return m.push(null);
    case "\x88": // NEWTRUE
      return m.push(true);
    case "\x89": // NEWFALSE
      return m.push(false);
    case "K": // BININT1
      return m.push(m.u8());
    case "M": // BININT2
      return m.push(m.u8() + 256 * m.u8());
    case "J": // BININT
      return m.push(m.u32() | 0);
    case "G": // BINFLOAT
      return m.push(m.f64());
    case "\x8a": // LONG1
      return m.push(littleEndian(m.slice(m.u8())));
    case "\x8c": // SHORT_BINUNICODE
    case "U": // SHORT_BINSTRING, the str of Python 2
      return m.push(m.text(m.u8()));
    case "X": // BINUNICODE
    case "T": // BINSTRING
      return m.push(m.text(m.u32()));
    case "C": // SHORT_BINBYTES
      return m.push(m.slice(m.u8()));
    case "B": // BINBYTES
      return m.push(m.slice(m.u32()));

    case ")": // EMPTY_TUPLE
    case "]": // EMPTY_LIST
      return m.push([]);
    case "t": // TUPLE
      return m.push(m.popMark());
    case "\x85": // TUPLE1
      return m.push(m.popMany(1));
    case "\x86": // TUPLE2
      return m.push(m.popMany(2));
    case "\x87": // TUPLE3
      return m.push(m.popMany(3));
    case "a": // APPEND
      return m.append(m.popMany(1));
    case "e": // APPENDS
      return m.append(m.popMark());

    case "}": // EMPTY_DICT
      return m.push(new Map());
    case "s": // SETITEM
      return m.setItems(m.popMany(2));
    case "u": // SETITEMS
      return m.setItems(m.popMark());

    case "c": // GLOBAL
      return m.push(m.global(m.line(), m.line()));
    case "\x93": { // STACK_GLOBAL
      const [module, name] = m.popMany(2);
      if (typeof module !== "string" || typeof name !== "string") {
        throw new Error("a global whose name is not a string");
      }
      return m.push(m.global(module, name));
    }
    case "R": // REDUCE
      return m.reduce();
    case "i": // INST: looked up first, so that the error says which class
      throw new Forbidden(
        `creates an instance of ${m.global(m.line(), m.line()).name} (INST), which no state dict needs`,
      );
    case "b": // BUILD: the attribute `_metadata` of a state dict, of no use here
      m.pop();
      if (!(m.top() instanceof Map)) throw new Forbidden("sets the state of something that is not a dict (BUILD)");
      return;
    case "Q": // BINPERSID
      return m.push(m.options.persistent(m.pop()));
    default:
      if (REFUSED.has(opcode)) {
        throw new Forbidden(`uses the instruction ${REFUSED.get(opcode)}, which no state dict needs`);
      }
      throw new Error(`unknown instruction 0x${opcode.toString(16).padStart(2, "0")}`);
  }
}

/** The cursor, the stack and the memo; every method throws rather than reach outside them. */
class Machine {
  readonly memo = new Map<number, unknown>();
  readonly options: PickleOptions;
  readonly #globals: ReadonlyMap<unknown, PickleGlobal>; // by identity
  readonly #bytes: Uint8Array;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #below: unknown[][] = []; // the stacks under each open mark
  #stack: unknown[] = [];
  #at = 0;

  constructor(bytes: Uint8Array, options: PickleOptions) {
    this.#bytes = bytes;
    this.options = options;
    this.#globals = new Map(Array.from(options.globals.values(), (global) => [global, global]));
  }

  expect(condition: boolean, otherwise: string): void {
    if (!condition) throw new Error(`${otherwise}, at byte ${this.#at}`);
  }

  slice(count: number): Uint8Array {
    this.expect(count <= this.#bytes.length - this.#at, "it ends in the middle of a value");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
  u8(): number {
    this.expect(this.#at < this.#bytes.length, "it ends in the middle of a value");
    return this.#bytes[this.#at++];
  }
  u32(): number {
    const [a, b, c, d] = this.slice(4);
    return a + 2 ** 8 * b + 2 ** 16 * c + 2 ** 24 * d;
  }
  f64(): number {
    const bytes = this.slice(8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, false); // the one big-endian number of the format
  }
  text(count: number): string {
    return this.#utf8.decode(this.slice(count));
  }
  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    this.expect(end >= 0, "a line without an end");
    const text = this.text(end - this.#at);
    this.#at = end + 1;
    return text;
  }

  push(value: unknown): void {
    this.#stack.push(value);
  }
  top(): unknown {
    this.expect(this.#stack.length > 0, "its stack is empty");
    return this.#stack[this.#stack.length - 1];
  }
  pop(): unknown {
    this.expect(this.#stack.length > 0, "its stack is empty");
    return this.#stack.pop();
  }
  popMany(count: number): unknown[] {
    this.expect(this.#stack.length >= count, "its stack is empty");
    return this.#stack.splice(this.#stack.length - count);
  }
  mark(): void {
    this.#below.push(this.#stack);
    this.#stack = [];
  }
  popMark(): unknown[] {
    const below = this.#below.pop();
    if (below === undefined) throw new Error("a mark is missing");
    const above = this.#stack;
    this.#stack = below;
    return above;
  }

  put(index: number): void {
    this.memo.set(index, this.top());
  }
  get(index: number): void {
    this.expect(this.memo.has(index), `nothing is remembered as ${index}`);
    this.push(this.memo.get(index));
  }
  append(items: readonly unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw new Error("something is appended to what is not a list");
    for (const item of items) list.push(item);
  }
  setItems(items: readonly unknown[]): void {
    const dict = this.top();
    if (!(dict instanceof Map) || items.length % 2 !== 0) throw new Error("an item is set in what is not a dict");
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  }

  global(module: string, name: string): PickleGlobal {
    const found = this.options.globals.get(`${module}.${name}`);
    if (found === undefined) {
      throw new Forbidden(`asks for ${quote(`${module}.${name}`)}, which is not among the names that weights need`);
    }
    return found;
  }
  reduce(): void {
    const [callee, args] = this.popMany(2);
    const known = this.#globals.get(callee);
    if (known?.call === undefined) {
      throw new Forbidden(`calls ${known?.name ?? "what is no function"}, which no state dict needs`);
    }
    if (!Array.isArray(args)) throw new Error(`${known.name} is called without a tuple`);
    this.push(known.call(args));
  }
}

/** A two's-complement little-endian integer of up to 16 bytes: a number where that is exact, else a bigint. */
function littleEndian(bytes: Uint8Array): number | bigint {
  if (bytes.length > 16) throw new Error(`a whole number of ${bytes.length} bytes`);
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  const signed = BigInt.asIntN(8 * bytes.length, value);
  return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
}
