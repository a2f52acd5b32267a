/**
 * The frame every kernel stands in: bindings, the uniform block of sizes, the entry point, and addresses of strided operands.
 *
 * What a kernel's text depends on is kept to a minimum (which strides are 0 or 1, never how large they are), because equal
 * text is one pipeline and a pipeline takes the driver up to seconds to build.
 */
import type { Access, Chain, Kernel, Operand } from "../ir/program.ts";
import type { Layout } from "../ir/type.ts";

/** The most workgroups WebGPU lets one dispatch have along an axis. */
export const MAX_GROUPS = 65535;

/** Workgroups that keep a large GPU busy: where a kernel would have fewer, smaller tiles or more parts of a sum make more of them. */
export const BUSY = 192;

export interface Binding {
  readonly name: string;
  readonly access: Access;
  /** Element type; f32 unless told otherwise (`vec4f` binds four at a time). */
  readonly element?: string;
}

export interface KernelSpec {
  readonly name: string;
  readonly bindings: readonly Binding[];
  /** Names and values of the i32 words the body reads as `p.name`. */
  readonly params: Readonly<Record<string, number>>;
  readonly workgroup: readonly [number, number, number];
  readonly grid: readonly [number, number, number];
  /** Functions and workgroup variables. */
  readonly prelude?: string;
  /** Sees group, local (vec3i), local_index (i32), groups (vec3i), p and the bindings; with `subgroups` also lane (i32). */
  readonly body: string;
  readonly subgroups?: boolean;
  readonly cost: { readonly flops: number; readonly bytes: number };
}

/** Puts a kernel together. */
export function kernel(spec: KernelSpec): Kernel {
  const names = Object.keys(spec.params);
  const words = names.map((name) => spec.params[name]);
  for (const [i, word] of words.entries()) {
    if (!Number.isInteger(word) || Math.abs(word) > 0x7fffffff) {
      throw new Error(`Bug: parameter ${names[i]} of ${spec.name} is ${word}, not an i32`);
    }
  }
  const bindings = spec.bindings.map((b, i) =>
    // WGSL has no write-only storage: direction "write" is a promise to the planner, the language says read_write.
    `@group(0) @binding(${i}) var<storage, ${b.access === "read" ? "read" : "read_write"}> ${b.name}: array<${
      b.element ?? "f32"
    }>;`
  );
  const block = names.length === 0 ? "" : `struct Params {\n${names.map((name) => `  ${name}: i32,\n`).join("")}}\n` +
    `@group(0) @binding(${spec.bindings.length}) var<uniform> p: Params;\n`;
  const wgsl = `${block}${bindings.join("\n")}
${spec.prelude ?? ""}
@compute @workgroup_size(${spec.workgroup.join(", ")})
fn main(
  @builtin(workgroup_id) group_u: vec3u,
  @builtin(local_invocation_id) local_u: vec3u,
  @builtin(local_invocation_index) local_index_u: u32,
  @builtin(num_workgroups) groups_u: vec3u,${spec.subgroups ? "\n  @builtin(subgroup_invocation_id) lane_u: u32," : ""}
) {
  let group = vec3i(group_u);
  let local = vec3i(local_u);
  let local_index = i32(local_index_u);
  let groups = vec3i(groups_u);${spec.subgroups ? "\n  let lane = i32(lane_u);" : ""}
${spec.body}
}
`;
  return {
    name: spec.name,
    wgsl,
    access: spec.bindings.map((b) => b.access),
    params: words,
    grid: spec.grid,
    cost: spec.cost,
  };
}

/** A WGSL index expression for a strided operand, and the parameters it reads. */
export interface Address {
  readonly params: Record<string, number>;
  readonly expression: string;
}

/**
 * The address of element `indices` of an operand: `p.a_offset + i * p.a_s0 + j`. Terms of stride 0 are left out and stride 1
 * is not multiplied; the text depends on nothing else of the layout. `indices` are WGSL i32 expressions, one an axis.
 */
export function address(name: string, layout: Layout, indices: readonly string[]): Address {
  if (indices.length !== layout.shape.length) {
    throw new Error(`Bug: ${indices.length} indices for ${name} of rank ${layout.shape.length}`);
  }
  const params: Record<string, number> = { [`${name}_offset`]: layout.offset };
  const terms = [`p.${name}_offset`];
  for (const [axis, stride] of layout.strides.entries()) {
    if (stride === 0 || layout.shape[axis] === 1) continue;
    if (stride === 1) {
      terms.push(`(${indices[axis]})`);
      continue;
    }
    params[`${name}_s${axis}`] = stride;
    terms.push(`(${indices[axis]}) * p.${name}_s${axis}`);
  }
  return { params, expression: terms.join(" + ") };
}

/** The bindings of a list of operands, one for each distinct buffer, and the name under which each operand is read. */
export function sourcesOf(prefix: string, operands: readonly Operand[]): { bindings: Binding[]; names: string[] } {
  const names = operands.map((operand, k) => `${prefix}${operand.source ?? k}`);
  return { bindings: [...new Set(names)].map((name) => ({ name, access: "read" as const })), names };
}

/** What an epilogue adds to a kernel: bindings, parameters, and the statements between result and store. */
export interface RenderedChain {
  readonly bindings: Binding[];
  readonly params: Record<string, number>;
  /** `render(result, indices, prefix)`: statements and the final expression at the output index `indices`. */
  apply(result: readonly string[], indices: readonly string[], prefix?: string): { statements: string; result: string };
}

/** Prepares a chain for a kernel. `prefix` names its bindings; a null chain passes its first argument through. */
export function renderChain(chain: Chain | null, prefix: string): RenderedChain {
  if (!chain) {
    return { bindings: [], params: {}, apply: (result) => ({ statements: "", result: result[0] }) };
  }
  const params: Record<string, number> = {};
  for (const [i, operand] of chain.operands.entries()) {
    Object.assign(params, address(`${prefix}v${i}`, operand.layout, operand.layout.shape.map(() => "0")).params);
  }
  const sources = sourcesOf(prefix, chain.operands);
  return {
    bindings: sources.bindings,
    params,
    apply: (result, indices, names = prefix) => {
      const loads = chain.operands.map((operand, i) =>
        `${sources.names[i]}[${address(`${prefix}v${i}`, operand.layout, indices).expression}]`
      );
      return chain.render([...result, ...loads], `${names}_`);
    },
  };
}

/** Whether words follow each other along the last axis by aligned fours, so that four can be loaded at once as `(index of four) * 4 + 0 … 3`. */
export function isQuads({ offset, shape, strides }: Layout): boolean {
  return strides.at(-1) === 1 && shape.at(-1)! % 4 === 0 &&
    [offset, ...strides.slice(0, -1)].every((words) => words % 4 === 0);
}

/** The same layout counted in fours of words. */
export function inQuads({ offset, shape, strides }: Layout): Layout {
  const last = strides.length - 1;
  return {
    offset: offset / 4,
    shape: shape.with(last, shape[last] / 4),
    strides: strides.map((words, axis) => axis === last ? 1 : words / 4),
  };
}

/** What an epilogue adds to a kernel that stores four neighbours along the last axis at once. */
export interface RenderedQuads {
  readonly bindings: Binding[];
  readonly params: Record<string, number>;
  /** `results`: the four; of `indices` the last counts fours. */
  apply(results: readonly string[], indices: readonly string[], prefix: string): {
    statements: string;
    results: string[];
  };
}

/** `renderChain` by fours; null where one of the operands does not lie so, nor is the same for all four. */
export function renderQuads(chain: Chain | null, prefix: string): RenderedQuads | null {
  const operands = chain?.operands ?? [];
  const fixed = (layout: Layout) => layout.strides.at(-1) === 0;
  if (!operands.every(({ layout }) => fixed(layout) || isQuads(layout))) return null;
  const sources = sourcesOf(prefix, operands);
  const at = (i: number, indices: readonly string[]) => {
    const { layout } = operands[i];
    return address(`${prefix}v${i}`, fixed(layout) ? layout : inQuads(layout), indices);
  };
  const params: Record<string, number> = {};
  for (const [i, { layout }] of operands.entries()) Object.assign(params, at(i, layout.shape.map(() => "0")).params);
  return {
    bindings: sources.bindings,
    params,
    apply(results, indices, names) {
      const loads = operands.map(({ layout }, i) => {
        const { expression } = at(i, indices);
        const words = [0, 1, 2, 3].map((c) => `${sources.names[i]}[(${expression}) * 4 + ${c}]`);
        return `let ${names}q${i} = ${
          fixed(layout) ? `${sources.names[i]}[${expression}]` : `vec4f(${words.join(", ")})`
        };`;
      });
      const chained = results.map((result, c) =>
        chain === null ? { statements: "", result } : chain.render(
          [result, ...operands.map(({ layout }, i) => fixed(layout) ? `${names}q${i}` : `${names}q${i}[${c}]`)],
          `${names}${c}_`,
        )
      );
      return {
        statements: [...loads, ...chained.map(({ statements }) => statements)].join("\n"),
        results: chained.map(({ result }) => result),
      };
    },
  };
}

export function ceilDiv(a: number, b: number): number {
  return Math.ceil(a / b);
}

/** A grid of `count` workgroups folded into two axes where one is too short; kernels read `group.x + group.y * groups.x`. */
export function foldGrid(count: number): [number, number, number] {
  if (count <= MAX_GROUPS) return [Math.max(count, 1), 1, 1];
  const rows = ceilDiv(count, MAX_GROUPS);
  return [ceilDiv(count, rows), rows, 1];
}
