// Just enough pickle to read PyTorch checkpoints: the instructions of Python's pickle, protocols 0 to 5, on the machine of pickle_machine.ts. It
// is not a general unpickler, and knows nothing of torch: it runs no code but the callables its caller lists by full name; every other object,
// of whatever class, is an inert nothing with a name. Invariant: every opcode consumes at least one byte and creates at most one value, so
// time and memory are bounded by the pickle's size. (The package pickleparser was tried: it lets a negative length move the cursor back, and
// runs until memory ends.)

import { Forbidden, Inert, Machine, type PickleOptions } from "./pickle_machine.ts";
import { messageOf, quote, WeightsError } from "./tensor.ts";

const BYTE_LIMIT = 64 * 2 ** 20; // ViT-B's pickle has 60 kB, a whole training checkpoint 400 kB, and arrays of numpy may lie beside
const STEP_LIMIT = 1_000_000;
const LONG_LIMIT = 16;

/** Opcodes that reach outside the pickle. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  [0x50, "PERSID"],
  [0x82, "EXT1"],
  [0x83, "EXT2"],
  [0x84, "EXT4"],
  [0x97, "NEXT_BUFFER"],
  [0x98, "READONLY_BUFFER"],
]);

/**
 * The value a pickle describes: dicts as Maps, lists, tuples and sets as arrays, ints as numbers (bigints beyond 2^53), None as null, a listed
 * global as the very object of `options.globals`, all else as `Inert`.
 * @throws WeightsError naming `label` if the pickle is damaged, too large, or reaches outside itself.
 */
export function unpickle(bytes: Uint8Array, label: string, options: PickleOptions): unknown {
  return unpickleAt(bytes, 0, label, options).value;
}

/** `unpickle` of what begins at byte `at`, and where that ends: PyTorch's old files have five in a row. @throws WeightsError as there. */
export function unpickleAt(
  bytes: Uint8Array,
  at: number,
  label: string,
  options: PickleOptions,
): { readonly value: unknown; readonly end: number } {
  const machine = new Machine(bytes.subarray(0, at + BYTE_LIMIT), at, options);
  try {
    return { value: run(machine), end: machine.at };
  } catch (cause) {
    if (cause instanceof WeightsError) throw cause;
    if (!(cause instanceof Forbidden) && bytes.length - at <= BYTE_LIMIT) {
      throw new WeightsError(
        `Cannot read ${label}: its pickle is damaged: ${messageOf(cause)}. Fetch the file again.`,
        { cause },
      );
    }
    const why = cause instanceof Forbidden
      ? cause.message
      : `is damaged (${messageOf(cause)}), or has more than ${BYTE_LIMIT} bytes, which no weights need`;
    throw new WeightsError(
      `Cannot read ${label}: its pickle ${why}. Nothing of it was run. ` +
        `If you trust the file, load it with PyTorch and save its tensors alone: torch.save(dict(model.state_dict()), "weights.pth").`,
      { cause },
    );
  }
}

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
    case "p": // PUT
      return m.put(Number(m.line()));
    case "g": // GET
      return m.get(Number(m.line()));
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
    case "\x8b": // LONG4
      return m.push(littleEndian(m.slice(m.u32())));
    case "I": // INT, and the bools of protocols 0 and 1
    case "L": // LONG
      return m.push(decimal(m.line()));
    case "F": // FLOAT
      return m.push(Number(m.line()));
    case "\x8c": // SHORT_BINUNICODE
      return m.push(m.text(m.u8()));
    case "X": // BINUNICODE
      return m.push(m.text(m.u32()));
    case "\x8d": // BINUNICODE8
      return m.push(m.text(m.u64()));
    case "V": // UNICODE
    case "S": // STRING
      return m.push(m.line().replace(/^(['"])(.*)\1$/s, "$2")); // escapes stay as they are: no tensor's name has any
    case "U": // SHORT_BINSTRING
      return m.push(m.bytesAsText(m.u8()));
    case "T": // BINSTRING
      return m.push(m.bytesAsText(m.u32()));
    case "C": // SHORT_BINBYTES
      return m.push(m.slice(m.u8()));
    case "B": // BINBYTES
      return m.push(m.slice(m.u32()));
    case "\x8e": // BINBYTES8
    case "\x96": // BYTEARRAY8
      return m.push(m.slice(m.u64()));

    case ")": // EMPTY_TUPLE
    case "]": // EMPTY_LIST
    case "\x8f": // EMPTY_SET
      return m.push([]);
    case "t": // TUPLE
    case "l": // LIST
    case "\x91": // FROZENSET
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
    case "\x90": // ADDITEMS
      return m.append(m.popMark());

    case "}": // EMPTY_DICT
      return m.push(new Map());
    case "d": // DICT
      return m.push(m.pairs(m.popMark()));
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
    case "R": { // REDUCE
      const [callee, args] = m.popMany(2);
      return m.push(m.reduce(callee, args));
    }
    case "i": { // INST
      const type = m.global(m.line(), m.line());
      return m.instance(type, m.popMark());
    }
    case "o": { // OBJ
      const [type, ...args] = m.popMark();
      return m.instance(type, args);
    }
    case "\x81": { // NEWOBJ
      const [type, args] = m.popMany(2);
      return m.instance(type, [args]);
    }
    case "\x92": { // NEWOBJ_EX
      const [type, ...args] = m.popMany(3);
      return m.instance(type, args);
    }
    case "b": // BUILD
      return m.build();
    case "Q": // BINPERSID
      return m.push(m.options.persistent(m.pop()));
    default:
      if (REFUSED.has(opcode)) {
        throw new Forbidden(`uses the instruction ${REFUSED.get(opcode)}, which no state dict needs`);
      }
      throw new Error(`unknown instruction 0x${opcode.toString(16).padStart(2, "0")}`);
  }
}

/** A two's-complement little-endian integer: a number where that is exact, else a bigint; of more than 16 bytes it is nothing with a name. */
function littleEndian(bytes: Uint8Array): number | bigint | Inert {
  if (bytes.length > LONG_LIMIT) return new Inert("int", { isObject: true });
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  const signed = BigInt.asIntN(8 * bytes.length, value);
  return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
}

/** A whole number in decimals (Python 2 puts an L behind), or one of the bools `00` and `01`. */
function decimal(text: string): number | bigint | boolean | Inert {
  if (text === "00" || text === "01") return text === "01";
  const digits = /^\s*([+-]?\d+)L?\s*$/.exec(text)?.[1];
  if (digits === undefined) throw new Error(`a number written as ${quote(text)}`);
  if (digits.length > 2 * LONG_LIMIT) return new Inert("int", { isObject: true });
  return Number.isSafeInteger(Number(digits)) ? Number(digits) : BigInt(digits);
}
