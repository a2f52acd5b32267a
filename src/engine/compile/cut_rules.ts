/**
 * How ops work on parts of their operands (parts.ts), by name. A rule gives what stands for a value; null where it cannot be had by parts.
 *
 * A part of a result is computed from the same part of the operands where channels do not mix, in the order in which the whole would be. Convolutions and products add up what each
 * part of their operand contributes, in the order of the parts: the sum is rounded otherwise than the whole's.
 */
import type { Apply, Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { Attrs } from "../ir/type.ts";
import { sizeOf } from "../ir/type.ts";
import { expand } from "../ops/broadcast.ts";
import { concat, list, permute, reshape } from "../ops/movement.ts";
import { fusedOp } from "./fused.ts";
import {
  boundsOf,
  type Cut,
  type Form,
  isCut,
  joined,
  leadingAxis,
  part,
  type Range,
  ranges,
  refined,
} from "./parts.ts";

export interface Cutting {
  /** Whether a value is to be made of parts. */
  large(value: Value): boolean;
  /** The bounds of the parts of a large value along its leading axis. */
  bounds(value: Value): readonly number[];
}

export interface Site {
  readonly value: Apply;
  /** What stands for its inputs. */
  readonly inputs: readonly Form[];
  readonly cutting: Cutting;
}

type Rule = (site: Site) => Form | null;

/** Bounds along `axis` at which the value or one of its inputs is cut; none where nothing is. */
function boundsAlong(axis: number, { value, inputs, cutting }: Site): readonly number[] | null {
  const lists = inputs.filter(isCut).filter((form) => form.axis === axis).map(({ bounds }) => bounds);
  if (cutting.large(value) && leadingAxis(value.type.shape) === axis) lists.push(cutting.bounds(value));
  return lists.length === 0 ? null : refined(...lists);
}

function cutInto(axis: number, bounds: readonly number[], make: (range: Range) => Value): Form {
  const parts = ranges(bounds).map(make);
  return parts.length === 1 ? parts[0] : { axis, bounds, parts };
}

/** Every operand cut alike. */
const scalar: Rule = (site) => {
  const { value, inputs } = site;
  const axis = inputs.find(isCut)?.axis ?? leadingAxis(value.type.shape);
  const bounds = boundsAlong(axis, site);
  return bounds &&
    cutInto(axis, bounds, (range) => apply(value.op, inputs.map((form) => part(form, axis, range)), value.attrs));
};

/** Reductions over trailing axes; their results have `added` axes before the rows. */
function rows(added: number): Rule {
  return (site) => {
    const { value: { op, attrs }, inputs } = site;
    const axis = inputs.find(isCut)?.axis;
    const rank = isCut(inputs[0]) ? inputs[0].parts[0].type.shape.length : inputs[0].type.shape.length;
    if (axis === undefined || axis >= rank - (attrs.axes as number)) return null;
    return cutInto(
      axis + added,
      boundsAlong(axis, site)!,
      (range) => apply(op, inputs.map((form) => part(form, axis, range)), attrs),
    );
  };
}

/** Ops that treat each plane alone: the first operand is cut, what else they read is the same for all. `shape`: the result's is an attribute. */
const planes: Rule = (site) => {
  const { value: { op, attrs, type }, inputs: [form, ...rest] } = site;
  const axis = isCut(form) ? form.axis : leadingAxis(type.shape);
  const bounds = axis < type.shape.length - 2 ? boundsAlong(axis, { ...site, inputs: [form] }) : null;
  if (!bounds || bounds.at(-1) !== type.shape[axis]) return null;
  return cutInto(axis, bounds, (range) => {
    const shape = attrs.shape === undefined ? {} : { shape: list(attrs, "shape").with(axis, range[1] - range[0]) };
    return apply(op, [part(form, axis, range), ...rest.map(joined)], { ...attrs, ...shape });
  });
};

/** As planes, where the planes of the operand are those of the result: nothing is placed along the axis. */
const embed: Rule = (site) => {
  const { value: { attrs, type }, inputs: [form] } = site;
  const axis = isCut(form) ? form.axis : leadingAxis(type.shape);
  return list(attrs, "start")[axis] === 0 && list(attrs, "step")[axis] === 1 ? planes(site) : null;
};

/** Views are of the parts, wherever the axis of the parts can still be told. */
function view(see: (cut: Cut, value: Apply) => Form | null): Rule {
  return ({ value, inputs: [form] }) => isCut(form) ? see(form, value) : null;
}

const views: Readonly<Record<string, Rule>> = {
  reshape: view(({ axis, bounds, parts }, { type: { shape } }) => {
    const from = parts[0].type.shape;
    const before = sizeOf(from.slice(0, axis));
    const to = shape.findIndex((side, i) => side === bounds.at(-1) && sizeOf(shape.slice(0, i)) === before);
    if (to < 0) return null;
    return { axis: to, bounds, parts: parts.map((x) => reshape(x, shape.with(to, x.type.shape[axis]))) };
  }),
  permute: view(({ axis, bounds, parts }, { attrs }) => {
    const order = list(attrs, "order");
    return { axis: order.indexOf(axis), bounds, parts: parts.map((x) => permute(x, order)) };
  }),
  expand: view(({ axis, bounds, parts }, { type: { shape } }) => {
    const to = axis + shape.length - parts[0].type.shape.length;
    return { axis: to, bounds, parts: parts.map((x) => expand(x, shape.with(to, x.type.shape[axis]))) };
  }),
  slice: view((cut, { op, attrs }) => {
    const { axis } = cut;
    const [start, count] = [list(attrs, "start"), list(attrs, "count")];
    if (list(attrs, "step")[axis] !== 1) return null;
    const [from, to] = [start[axis], start[axis] + count[axis]];
    const bounds = refined([from, to], cut.bounds.filter((at) => from < at && at < to));
    return cutInto(axis, bounds.map((at) => at - from), ([a, b]) => {
      const within = { ...attrs, start: start.with(axis, 0), count: count.with(axis, b - a) };
      return apply(op, [part(cut, axis, [from + a, from + b])], within);
    });
  }),
};

/** The pieces, and the parts of those that are cut, are the parts; along another axis, parts are joined with parts. */
const concatenation: Rule = (site) => {
  const { value, inputs, cutting } = site;
  const axis = value.attrs.axis as number;
  if (!cutting.large(value)) return null;
  const leading = leadingAxis(value.type.shape);
  if (axis === leading) {
    const parts = inputs.flatMap((form) => isCut(form) && form.axis === axis ? form.parts : [joined(form)]);
    return { axis, bounds: boundsOf(parts.map(({ type }) => type.shape[axis])), parts };
  }
  const bounds = boundsAlong(leading, site)!;
  return cutInto(leading, bounds, (range) => concat(inputs.map((form) => part(form, leading, range)), axis));
};

/** A result along `axis` by parts, each the sum of what the ranges of the operand give to it; `term` gives their inputs and attributes. */
function sums(
  op: Op,
  { axis, outs, ins, term }: {
    readonly axis: number;
    readonly outs: readonly number[];
    readonly ins: readonly number[];
    readonly term: (of: Range, out: Range) => { readonly inputs: readonly Value[]; readonly attrs: Attrs };
  },
): Form {
  let totals: Value[] = [];
  // A part of the operand is read by all results before the next one is.
  for (const of of ranges(ins)) {
    totals = ranges(outs).map((out, k) => {
      const { inputs, attrs } = term(of, out);
      if (totals.length === 0) return apply(op, inputs, attrs);
      const added = { ...attrs, operands: inputs.length, epilogue: "add x0 x1" };
      return apply(fusedOp(op), [...inputs, totals[k]], added);
    });
  }
  return totals.length === 1 ? totals[0] : { axis, bounds: outs, parts: totals };
}

/** A convolution (`adjoint`: the gradient of its operand). Several images are parts by themselves; of one, channels are axis 1. */
function convolution(adjoint: boolean): Rule {
  return (site) => {
    const { value: { op, attrs, type: { shape } }, inputs: [x, weight] } = site;
    if (shape[0] > 1) return planes(site);
    const kernel = joined(weight);
    if (isCut(x) && x.axis !== 1) return null;
    const [outputs, inputs] = adjoint ? [1, 0] : [0, 1];
    return sums(op, {
      axis: 1,
      outs: boundsAlong(1, { ...site, inputs: [] }) ?? [0, shape[1]],
      ins: isCut(x) ? x.bounds : [0, kernel.type.shape[inputs]],
      term: (of, out) => ({
        inputs: [part(x, 1, of), part(part(kernel, outputs, out), inputs, of)],
        attrs: adjoint ? { ...attrs, shape: shape.with(1, out[1] - out[0]) } : attrs,
      }),
    });
  };
}

/** [splits, A, B, ...] out of blocks of A by B; `block` makes one. */
function blocks(a: readonly number[], b: readonly number[], block: (a: Range, b: Range) => Value): Value {
  return concat(ranges(a).map((of) => concat(ranges(b).map((by) => block(of, by)), 2)), 1);
}

/** Where an operand is cut along an axis of this side. */
const along = (form: Form, axis: number, side: number) => isCut(form) && form.axis === axis ? form.bounds : [0, side];

const weightParts: Rule = ({ value: { op, attrs }, inputs: [x, gradient] }) => {
  const shape = list(attrs, "shape");
  if ([x, gradient].some((form) => isCut(form) && form.axis !== 1)) return null;
  return blocks(
    along(gradient, 1, shape[0]),
    along(x, 1, shape[1]),
    (o, i) =>
      apply(op, [part(x, 1, i), part(gradient, 1, o)], {
        ...attrs,
        shape: [o[1] - o[0], i[1] - i[0], ...shape.slice(2)],
      }),
  );
};

const product: Rule = (site) => {
  const { value: { op, attrs, type: { shape } }, inputs: [a, b] } = site;
  const rank = isCut(a) ? a.parts[0].type.shape.length : a.type.shape.length;
  if (rank !== 2 || attrs.merge) return null;
  const [m, n] = shape.slice(-2);
  const [ofRows, ofColumns] = [boundsAlong(0, { ...site, inputs: [a] }) ?? [0, m], along(b, 1, n)];
  const inner = [a, b].find((form, i): form is Cut => isCut(form) && form.axis === 1 - i)?.bounds;
  const block = (of: Range, by: Range) => apply(op, [part(a, 0, of), part(b, 1, by)], attrs);
  // Partial products of a long sum.
  if (shape.length === 3) return inner ? null : blocks(ofRows, ofColumns, block);
  if (!inner && ofColumns.length > 2) {
    return cutInto(0, ofRows, (of) => concat(ranges(ofColumns).map((by) => block(of, by)), 1));
  }
  const length = isCut(a) ? inner?.at(-1) ?? a.parts[0].type.shape[1] : a.type.shape[1];
  return sums(op, {
    axis: 0,
    outs: ofRows,
    ins: inner ?? [0, length],
    term: (of, out) => {
      const left = isCut(a) && a.axis === 1 ? part(part(a, 1, of), 0, out) : part(part(a, 0, out), 1, of);
      return { inputs: [left, part(b, 0, of)], attrs };
    },
  });
};

/** By the name of the op; `scalar` for all that fuse. */
export const rules: Readonly<Record<string, Rule>> = {
  ...views,
  scalar,
  concat: concatenation,
  sum: rows(0),
  moments: rows(1),
  pair_sums: rows(1),
  resample: planes,
  resample_adjoint: planes,
  crop: planes,
  place: planes,
  pad_reflection: planes,
  fold_reflection: planes,
  embed,
  conv2d: convolution(false),
  conv2d_input_gradient: convolution(true),
  conv2d_weight_parts: weightParts,
  matmul: product,
};
