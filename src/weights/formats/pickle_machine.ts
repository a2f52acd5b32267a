// What the instructions of a pickle work on: a cursor, a stack with marks, a memo, and `Inert`, the nothing that stands for every object of a
// class that the reader does not know. It interprets no instruction itself. Invariant: every method throws rather than reach outside the
// bytes, the stack or the memo, and nothing here calls anything but the callables its caller lists by full name.

import { quote } from "./tensor.ts";

/** A name a pickle may mention; `call`, if there, is what REDUCE runs: it checks its arguments itself and throws `WeightsError` or `Error`. */
export type PickleGlobal = { readonly name: string; readonly call?: (args: readonly unknown[]) => unknown };

/**
 * `globals` by full name ("collections.OrderedDict"); `persistent` resolves a persistent id (PyTorch: a storage); `foreign` is told every
 * name that is not among `globals`.
 */
export type PickleOptions = {
  readonly globals: ReadonlyMap<string, PickleGlobal>;
  readonly persistent: (id: unknown) => unknown;
  readonly foreign?: (name: string) => void;
};

/** A well-formed pickle wants something it may not have. Its message completes "its pickle ...". */
export class Forbidden extends Error {}

/**
 * A name that no list has, or what a pickle makes of one: never looked up, never called. `parts` are the arguments and states it was given,
 * `items` what was set in it, for the sake of dicts of foreign classes.
 */
export class Inert {
  readonly name: string;
  readonly isObject: boolean;
  readonly parts: unknown[];
  items: Map<unknown, unknown> | null = null;

  constructor(name: string, { isObject, parts = [] }: { isObject: boolean; parts?: unknown[] }) {
    this.name = name;
    this.isObject = isObject;
    this.parts = parts;
  }
}

/** The cursor, the stack and the memo of one run. */
export class Machine {
  readonly memo = new Map<number, unknown>();
  readonly options: PickleOptions;
  readonly #globals: ReadonlyMap<unknown, PickleGlobal>; // by identity
  readonly #bytes: Uint8Array;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #lenient = new TextDecoder("utf-8", { ignoreBOM: true });
  readonly #below: unknown[][] = []; // the stacks under each open mark
  #stack: unknown[] = [];
  #at: number;

  constructor(bytes: Uint8Array, at: number, options: PickleOptions) {
    this.#bytes = bytes;
    this.#at = at;
    this.options = options;
    this.#globals = new Map(Array.from(options.globals.values(), (global) => [global, global]));
  }

  /** Where the next byte is read. */
  get at(): number {
    return this.#at;
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
  /** Rounded beyond 2^53, which no file reaches. */
  u64(): number {
    return this.u32() + 2 ** 32 * this.u32();
  }
  f64(): number {
    const bytes = this.slice(8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, false); // the one big-endian number of the format
  }
  /** Python writes lone surrogates (paths whose bytes are no UTF-8) as if they were characters: they become U+FFFD. */
  text(count: number): string {
    const bytes = this.slice(count);
    try {
      return this.#utf8.decode(bytes);
    } catch (cause) {
      if (!bytes.some((byte, i) => byte === 0xed && bytes[i + 1] >= 0xa0)) throw cause;
      return this.#lenient.decode(bytes);
    }
  }
  /** The str of Python 2, which may be any bytes. */
  bytesAsText(count: number): string {
    return this.#lenient.decode(this.slice(count));
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
    const into = list instanceof Inert && list.isObject ? list.parts : list;
    if (!Array.isArray(into)) throw new Error("something is appended to what is not a list");
    for (const item of items) into.push(item);
  }
  setItems(items: readonly unknown[]): void {
    const dict = this.top();
    const into = dict instanceof Inert && dict.isObject ? (dict.items ??= new Map()) : dict;
    if (!(into instanceof Map) || items.length % 2 !== 0) throw new Error("an item is set in what is not a dict");
    for (let i = 0; i < items.length; i += 2) into.set(items[i], items[i + 1]);
  }
  pairs(items: readonly unknown[]): Map<unknown, unknown> {
    this.push(new Map());
    this.setItems(items);
    return this.pop() as Map<unknown, unknown>;
  }

  global(module: string, name: string): PickleGlobal | Inert {
    const full = `${module}.${name}`;
    const found = this.options.globals.get(full);
    if (found !== undefined) return found;
    this.options.foreign?.(full);
    return new Inert(full, { isObject: false });
  }
  /** What comes of calling `callee`: of a listed callable its value, of every other name an inert object. */
  reduce(callee: unknown, args: unknown): unknown {
    const name = this.#nameOf(callee);
    if (name === null) throw new Forbidden("calls what is no function, which no state dict needs");
    if (!Array.isArray(args)) throw new Error(`${name} is called without a tuple`);
    const known = this.#globals.get(callee);
    // The tuple itself and no copy of it: a pickle may call many things with one long tuple.
    return known?.call === undefined ? new Inert(name, { isObject: true, parts: [args] }) : known.call(args);
  }
  /** An object of a class: inert whatever the class, for of the listed names none is one whose objects are made like this. */
  instance(type: unknown, parts: unknown[]): void {
    const name = this.#nameOf(type);
    if (name === null) throw new Forbidden("makes an object of what is no class, which no state dict needs");
    this.push(new Inert(name, { isObject: true, parts }));
  }
  /** A dict's attributes (the `_metadata` of a state dict) and a tensor's are of no use here, an inert object keeps its state. */
  build(): void {
    const state = this.pop();
    const target = this.top();
    if (target instanceof Inert && target.isObject) target.parts.push(state);
    else if (this.#nameOf(target) !== null) {
      throw new Forbidden(`changes ${quote(this.#nameOf(target) ?? "")} itself (BUILD), which no state dict needs`);
    } else if (typeof target !== "object" || target === null) throw new Error("the state of a plain value is set");
  }

  #nameOf(value: unknown): string | null {
    return value instanceof Inert ? value.name : this.#globals.get(value)?.name ?? null;
  }
}
