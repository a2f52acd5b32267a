/**
 * How kernels over rows read: the operands of an op and of what comes before and after it, at row r and element j, through their own strides.
 */
import type { KernelRequest, Operand } from "../../ir/program.ts";
import { collapse, type Layout } from "../../ir/type.ts";
import { address, inQuads, isQuads, sourcesOf } from "../template.ts";
import type { WideReader } from "./row_wide.ts";

/** Reads the op's inputs at (r, j): `read(j)` is statements after which v0, v1, ... are their values. */
export interface Reader {
  read(j: string): string;
  /** The same for a GPU. */
  readonly wide: WideReader;
}

/** What is read while a row is walked, and while it is written, which may take an epilogue's operands besides: l{k} is operand k there. */
export interface Readers {
  readonly params: Record<string, number>;
  /** Statements before the row is walked. */
  readonly begin: string;
  readonly walked: Reader;
  readonly written: Reader;
}

function unravel(
  index: string,
  sides: readonly number[],
  name: string,
  params: Record<string, number>,
  tag = "",
): { text: string; names: string[] } {
  if (sides.length <= 1) return { text: "", names: sides.map(() => index) };
  const lines: string[] = [];
  let rest = index;
  for (let axis = sides.length - 1; axis > 0; axis--) {
    params[`${name}${axis}`] = sides[axis];
    lines.push(
      `let ${name}${tag}_${axis} = (${rest}) % p.${name}${axis};`,
      `let ${name}${tag}_rest${axis} = (${rest}) / p.${name}${axis};`,
    );
    rest = `${name}${tag}_rest${axis}`;
  }
  lines.push(`let ${name}${tag}_0 = ${rest};`);
  return { text: lines.join("\n"), names: sides.map((_, axis) => `${name}${tag}_${axis}`) };
}

export function readersOf(
  { own, after }: { readonly own: readonly Operand[]; readonly after: readonly Operand[] },
  { axes, prologue, fours }: {
    readonly axes: number;
    readonly prologue: KernelRequest["prologue"];
    /** Whether words are taken by fours where they lie so. */
    readonly fours: boolean;
  },
): Readers {
  const operands = [...own, ...after];
  const rank = operands[0].type.shape.length - axes;
  const half = (from: number, to: number) =>
    collapse(
      operands[0].layout.shape.slice(from, to),
      operands.map((operand) => operand.layout.strides.slice(from, to)),
    );
  const [outer, inner] = [half(0, rank), half(rank, rank + axes)];
  const params: Record<string, number> = {};
  const sources = [...sourcesOf("x", own).names, ...sourcesOf("e", after).names];
  const rows = unravel("row", outer.shape, "o", params);
  const columns = unravel("j", inner.shape, "c", params);
  const fixed = (k: number) => inner.strides[k].every((stride) => stride === 0);
  const layouts = operands.map(({ layout }, k): Layout => ({
    offset: layout.offset,
    shape: [...outer.shape, ...inner.shape],
    strides: [...outer.strides[k], ...inner.strides[k]],
  }));
  const quads = fours && inner.shape.length === 1 && layouts.every((layout, k) => fixed(k) || isQuads(layout));
  const at = (k: number, columns: readonly string[]) =>
    address(`l${k}`, quads && !fixed(k) ? inQuads(layouts[k]) : layouts[k], [...rows.names, ...columns]);
  const loads = operands.map((_, k) => {
    const { params: own, expression } = at(k, columns.names);
    Object.assign(params, own);
    return `let l${k} = ${sources[k]}[${expression}];`;
  });
  const names = own.map((_, k) => `l${k}`);
  const values = prologue
    ? prologue.map((render, i) => {
      const { statements, result } = render(names, `p${i}_`);
      return `${statements}\nlet v${i} = ${result};`;
    })
    : names.map((name, i) => `let v${i} = ${name};`);
  const reader = (count: number): Reader => ({
    wide: {
      sources: sources.slice(0, count).map((source, k) => fixed(k) ? null : source),
      quads,
      values: values.join("\n"),
      locate(place, tag) {
        const { text, names } = unravel(place, inner.shape, "c", params, tag);
        return { text, addresses: layouts.map((_, k) => at(k, names).expression) };
      },
    },
    read(j) {
      const own = loads.slice(0, count).filter((_, k) => !fixed(k));
      return `{{let j = ${j};\n${columns.text}\n${own.join("\n")}\n${values.join("\n")}\n`;
    },
  });
  return {
    params,
    // What is the same along the row is loaded before it is walked.
    begin: [rows.text, ...loads.filter((_, k) => fixed(k))].join("\n"),
    walked: reader(own.length),
    written: reader(operands.length),
  };
}
