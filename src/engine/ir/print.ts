/** Graphs and programs as text, for people and for golden files: stable names, nothing that changes from run to run. */
import type { Graph, Value } from "./graph.ts";
import type { Attrs } from "./type.ts";
import { valuesOf } from "./graph.ts";
import type { Program } from "./program.ts";
import { typeText } from "./type.ts";

function attrsText(attrs: Attrs): string {
  const parts = Object.entries(attrs).map(([name, value]) =>
    `${name}=${Array.isArray(value) ? `[${value}]` : typeof value === "string" ? `"${value}"` : value}`
  );
  return parts.length === 0 ? "" : ` {${parts.join(", ")}}`;
}

/** One line a value, numbered from %0: `%3 = matmul(%1, %2) : f32[4,8]  # scope`. */
export function graphText(graph: Graph): string {
  const numbers = new Map<Value, number>();
  const name = (value: Value) => `%${numbers.get(value)}`;
  const lines = valuesOf(graph).map((value, i) => {
    numbers.set(value, i);
    const what = value.kind === "apply"
      ? `${value.op.name}(${value.inputs.map(name).join(", ")})${attrsText(value.attrs)}`
      : value.kind === "const"
      ? `const ${value.literal}`
      : `${value.kind} ${value.name}`;
    return `${name(value)} = ${what} : ${typeText(value.type)}${value.scope ? `  # ${value.scope}` : ""}`;
  });
  const roots = [...graph.roots].map(([root, value]) => `${root} = ${name(value)}`);
  return [...lines, ...roots].join("\n") + "\n";
}

/** One line a step: `matmul [6,25,1] b0 b1 -> b2  # scope`, then the buffers. */
export function programText(program: Program): string {
  const steps = program.steps.map(({ kernel, args, origin }) => {
    const written = args.filter((_, i) => kernel.access[i] !== "read").map((id) => `b${id}`);
    const read = args.filter((_, i) => kernel.access[i] === "read").map((id) => `b${id}`);
    return `${kernel.name} [${kernel.grid}] ${read.join(" ")} -> ${written.join(" ")}${origin ? `  # ${origin}` : ""}`;
  });
  const buffers = [...program.buffers].map(([id, { bytes, role }]) =>
    `b${id}: ${bytes} bytes ${role.kind}${role.kind === "state" ? ` ${role.name}` : ""}`
  );
  return [`program ${program.name}`, ...steps, ...buffers].join("\n") + "\n";
}
