/**
 * Bilinear resizing to exactly twice the size, and its transpose, for software adapters: the decoder's case, where every weight is 1/4 or 3/4, so that neighbours share
 * their loads. The same numbers as the general kernels of resample.ts, which decides between the two.
 */
import type { Chain, Kernel, Profile } from "../../ir/program.ts";
import { type Layout, sizeOf } from "../../ir/type.ts";
import { ceilDiv, foldGrid, kernel, renderChain, type RenderedChain } from "../template.ts";
import { each, range } from "../unroll.ts";
import { windowLoads } from "../window.ts";

/** The decoder's case: between fine = 2 * coarse pixels, every weight is 1/4 or 3/4. GPUs need no such help. */
export function doubles(
  scales: { readonly mode: string; readonly scaleY: number; readonly scaleX: number; readonly profile: Profile },
  coarse: Layout,
  fine: Layout,
): boolean {
  return scales.profile.name !== "workgroup" && scales.mode === "bilinear" && scales.scaleY === 0.5 &&
    scales.scaleX === 0.5 && fine.shape[1] === 2 * coarse.shape[1] && fine.shape[2] === 2 * coarse.shape[2];
}

const LANES = 8;

/** An invocation owns four coarse pixels of a row, (n, i, first ..): all that its `body` has to say is what to load and what to store. */
function quadKernel(
  { coarse: [planes, height, width], chain, source, out }: {
    readonly coarse: readonly number[];
    readonly chain: RenderedChain;
    readonly source: Layout;
    readonly out: Layout;
  },
  { name, body, flops }: { readonly name: string; readonly body: string; readonly flops: number },
): Kernel {
  const rowUnits = ceilDiv(width, 4);
  const units = planes * height * rowUnits;
  return kernel({
    name,
    bindings: [{ name: "source", access: "read", element: "vec4f" }, ...chain.bindings, {
      name: "result",
      access: "write",
    }],
    params: {
      units,
      row_units: rowUnits,
      height,
      width,
      source_offset: source.offset,
      out_offset: out.offset,
      ...chain.params,
    },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(units, LANES)),
    body: `
  let unit = (group.x + group.y * groups.x) * ${LANES} + local_index;
  if (unit >= p.units) { return; }
  let first = unit % p.row_units * 4;
  let i = unit / p.row_units % p.height;
  let n = unit / (p.row_units * p.height);${body}`,
    cost: { flops, bytes: 4 * (sizeOf(source.shape) + sizeOf(out.shape)) },
  });
}

/**
 * out[2i] = (x[i - 1] + 3 x[i]) / 4 and out[2i + 1] = (3 x[i] + x[i + 1]) / 4 along both axes, indices clamped: three windows
 * of six words give sixteen outputs.
 */
export function doublingKernel(
  { x, out, epilogue }: { readonly x: Layout; readonly out: Layout; readonly epilogue: Chain | null },
): Kernel {
  const chain = renderChain(epilogue, "e");
  const rows = range(3);
  const border = (r: number, k: number) => {
    if (k === 0) return `select(raw${r}_0, raw${r}_1, first == 0)`;
    return `select(raw${r}_${k}, raw${r}_${k - 1}, first + ${k - 1} == p.width)`;
  };
  const blend = (near: string, far: string) => `0.75 * ${near} + 0.25 * ${far}`;
  const chained = chain.apply(["sums[m]"], ["n", "row", "column"]);
  return quadKernel({ coarse: x.shape, chain, source: x, out }, {
    name: "resample_double",
    body: `
  ${
      each(rows, (r) => `
  let row${r} = n * p.height + clamp(i + ${r - 1}, 0, p.height - 1);
  ${windowLoads("source", `${r}`, `p.source_offset + row${r} * p.width + first - 1`, 6)}
  ${each(range(6), (k) => `let v${r}_${k} = ${border(r, k)};`)}
  ${
        each(range(8), (c) => {
          const middle = (c >> 1) + 1;
          return `let across${r}_${c} = ${blend(`v${r}_${middle}`, `v${r}_${c % 2 === 0 ? middle - 1 : middle + 1}`)};`;
        })
      }`)
    }
  // By way of an array and in a loop: unrolled stores and epilogues take the driver long to compile.
  var sums: array<f32, 16>;
  ${
      each(
        range(2),
        (r) => each(range(8), (c) => `sums[${r * 8 + c}] = ${blend(`across1_${c}`, `across${2 * r}_${c}`)};`),
      )
    }
  for (var m = 0; m < 16; m++) {
    let row = 2 * i + m / 8;
    let column = 2 * first + m % 8;
    if (column < 2 * p.width) {
      ${chained.statements}
      result[p.out_offset + (n * 2 * p.height + row) * 2 * p.width + column] = ${chained.result};
    }
  }`,
    flops: 3 * sizeOf(out.shape) * 2,
  });
}

/** out[i] = (g[2i - 1] + 3 g[2i] + 3 g[2i + 1] + g[2i + 2]) / 4 along both axes, indices clamped. */
export function doublingAdjointKernel(
  { gradient, out, epilogue }: { readonly gradient: Layout; readonly out: Layout; readonly epilogue: Chain | null },
): Kernel {
  const chain = renderChain(epilogue, "e");
  const border = (k: number) => {
    if (k === 0) return "select(raw_0, raw_1, first == 0)";
    return k % 2 === 0 ? `raw_${k}` : `select(raw_${k}, raw_${k - 1}, 2 * first + ${k - 1} == 2 * p.width)`;
  };
  const store = (c: number) => {
    const chained = chain.apply([`sum${c}`], ["n", "i", `column${c}`], `e${c}`);
    return `
  let column${c} = min(first + ${c}, p.width - 1);
  ${chained.statements}
  if (first + ${c} < p.width) {
    result[p.out_offset + (n * p.height + i) * p.width + column${c}] = ${chained.result};
  }`;
  };
  return quadKernel({ coarse: out.shape, chain, source: gradient, out }, {
    name: "resample_double_adjoint",
    body: `
  ${each(range(4), (c) => `var sum${c} = 0.0;`)}
  for (var r = 0; r < 4; r++) {
    let row = n * 2 * p.height + clamp(2 * i + r - 1, 0, 2 * p.height - 1);
    let weight = select(0.0625, 0.1875, r == 1 || r == 2);
    ${windowLoads("source", "", "p.source_offset + row * 2 * p.width + 2 * first - 1", 10)}
    ${each(range(10), (k) => `let v${k} = ${border(k)};`)}
    ${
      each(
        range(4),
        (c) => `sum${c} += weight * (v${2 * c} + v${2 * c + 3} + 3.0 * (v${2 * c + 1} + v${2 * c + 2}));`,
      )
    }
  }
  ${each(range(4), store)}`,
    flops: 2 * 4 * sizeOf(gradient.shape),
  });
}
