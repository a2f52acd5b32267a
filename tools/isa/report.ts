/**
 * Tables of what isa.c printed of each kernel, and of whole steps: how much of what they issue is arithmetic that counts.
 *
 *   deno run --allow-read report.ts MANIFEST.json ISA_OUTPUT [--json | --why KERNEL]
 */
import type { KernelEntry, Manifest, Use, Workload } from "./kernels.ts";
import { type Measured, readIsa } from "./measure.ts";

interface Row {
  readonly use: Use;
  readonly share: number;
  readonly measured: Measured | null;
}

const percent = (share: number | null | undefined) => share == null ? "-" : `${(100 * share).toFixed(1)}`;
const fixed = (value: number | null | undefined, digits: number) => value == null ? "-" : value.toFixed(digits);

interface Summary {
  readonly name: string;
  readonly dispatches: number;
  readonly flops: number;
  readonly distinct: number;
  /** Means over kernels of more than 1 % of the flops, weighted by flops. */
  readonly meanLoop: number;
  readonly meanCore: number;
  /** Flops over the sum of flops / share: as the time would be if issue alone took any. */
  readonly harmonicLoop: number;
  readonly spilling: number;
  readonly meanBytesPerLoad: number;
}

function summarise({ name, dispatches, flops, bytes, uses }: Workload, rows: readonly Row[]): Summary {
  const heavy = rows.filter(({ share, measured }) => share > 0.01 && measured?.hot);
  const sum = (value: (row: Row) => number) => heavy.reduce((total, row) => total + row.share * value(row), 0);
  const weight = sum(() => 1);
  const best = ({ measured }: Row) => measured!.hot!.loop;
  const moved = rows.filter(({ measured }) => measured && measured.all.loads > 0);
  const bytesOf = ({ use }: Row) => use.bytes / bytes;
  return {
    name,
    dispatches,
    flops,
    distinct: uses.length,
    meanLoop: sum(best) / weight,
    meanCore: sum(({ measured }) => measured!.hot!.core) / weight,
    harmonicLoop: weight / sum((row) => 1 / best(row)),
    spilling:
      rows.filter(({ measured }) => measured && (measured.spilledVgprs > 0 || measured.scratchBytes > 0)).length,
    meanBytesPerLoad:
      moved.reduce((t, row) => t + bytesOf(row) * row.measured!.all.loadBytes / row.measured!.all.loads, 0) /
      moved.reduce((t, row) => t + bytesOf(row), 0),
  };
}

function table(lines: readonly (readonly string[])[]): string {
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines.map((line) =>
    line.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ").trimEnd()
  ).join("\n");
}

function print(workload: Workload, rows: readonly Row[], summary: Summary): void {
  console.log(
    `\n## ${workload.name}: ${workload.dispatches} dispatches, ${(workload.flops / 1e12).toFixed(3)} TFLOP, ` +
      `${(workload.bytes / 1e9).toFixed(2)} GB, ${rows.length} distinct kernels\n`,
  );
  const heavy = rows.filter(({ share, measured }) => workload.name === "files" || (share > 0.001 && measured?.hot));
  console.log(table([
    [
      "kernel",
      "disp",
      "flops%",
      "VGPR",
      "spill",
      "LDS B",
      "waves",
      "core%",
      "FMA%",
      "ofVALU%",
      "LDSld/FMA",
      "LDS B/FMA",
      "glob B/FMA",
      "in flight",
      "once",
      "B/load",
      "B/store",
      "origin",
    ],
    ...heavy.map(({ use, share, measured }) => {
      const { hot, all } = measured ?? {};
      return [
        use.id,
        `${use.dispatches}`,
        workload.flops ? percent(share) : "-",
        measured ? `${measured.vgprs}` : "fails",
        measured ? `${measured.spilledVgprs}` : "-",
        `${measured?.ldsBytes ?? "-"}`,
        fixed(measured?.wavesPerSimd, 0),
        percent(hot?.core),
        (hot?.estimated ? "~" : "") + percent(hot?.loop),
        percent(hot?.ofValu),
        fixed(hot?.ldsLoadsPerFma, 3),
        fixed(hot?.ldsBytesPerFma, 2),
        fixed(hot?.globalBytesPerFma, 2),
        fixed(hot?.loadsInFlight, 0),
        `${measured?.once.issued ?? "-"}`,
        all && all.loads > 0 ? (all.loadBytes / all.loads).toFixed(1) : "-",
        all && all.stores > 0 ? (all.storeBytes / all.stores).toFixed(1) : "-",
        use.origin,
      ];
    }),
  ]));
  if (workload.name === "files") return;
  console.log("\nWhat moves bytes (by the step's bytes; loads and stores are static counts by width):\n");
  const moving = [...rows].sort((a, b) => b.use.bytes - a.use.bytes).slice(0, 16);
  console.log(table([
    [
      "kernel",
      "disp",
      "bytes%",
      "VGPR",
      "waves",
      "instr",
      "loads",
      "in flight",
      "B/load",
      "stores",
      "B/store",
      "VALU/load",
      "origin",
    ],
    ...moving.map(({ use, measured }) => [
      use.id,
      `${use.dispatches}`,
      percent(use.bytes / workload.bytes),
      `${measured?.vgprs ?? "fails"}`,
      fixed(measured?.wavesPerSimd, 0),
      `${measured?.instructions ?? "-"}`,
      `${measured?.all.loads ?? "-"}`,
      `${measured?.loadsInFlight ?? "-"}`,
      measured?.all.loads ? (measured.all.loadBytes / measured.all.loads).toFixed(1) : "-",
      `${measured?.all.stores ?? "-"}`,
      measured?.all.stores ? (measured.all.storeBytes / measured.all.stores).toFixed(1) : "-",
      measured?.all.loads ? (measured.all.valu / measured.all.loads).toFixed(1) : "-",
      use.origin,
    ]),
  ]));
  console.log(`
FMA share, flop-weighted mean over kernels above 1 %: ${percent(summary.meanLoop)} %  (core alone ${
    percent(summary.meanCore)
  } %, harmonic ${percent(summary.harmonicLoop)} %)
kernels that spill: ${summary.spilling}   dispatches a step: ${summary.dispatches}   bytes a load instruction (byte-weighted): ${
    summary.meanBytesPerLoad.toFixed(1)
  }`);
}

if (import.meta.main) {
  const [manifestPath, isaPath, ...flags] = Deno.args;
  const manifest: Manifest = JSON.parse(Deno.readTextFileSync(manifestPath));
  const { device, kernels } = readIsa(Deno.readTextFileSync(isaPath));
  const spirv = new Map(manifest.kernels.map((kernel: KernelEntry) => [kernel.id, kernel.spirv]));
  const reports = manifest.workloads.map((workload) => {
    const rows = workload.uses.map((use): Row => ({
      use,
      share: workload.flops ? use.flops / workload.flops : 0,
      measured: kernels.get(spirv.get(use.id)!) ?? null,
    })).sort((a, b) => b.share - a.share);
    return { workload, rows, summary: summarise(workload, rows) };
  });
  if (flags[0] === "--why") {
    for (const { id } of manifest.kernels.filter((kernel) => kernel.id === flags[1])) {
      const hot = kernels.get(spirv.get(id)!)?.hot;
      if (!hot) throw new Error(`${id} has no loop with multiply-adds`);
      const names = Object.keys(hot.loopMix).sort((a, b) => hot.loopMix[b] - hot.loopMix[a]);
      console.log(table([
        ["instruction", "core", "loop"],
        ...names.map((name) => [name, `${hot.coreMix[name] ?? 0}`, `${hot.loopMix[name]}`]),
      ]));
    }
  } else if (flags.includes("--json")) {
    console.log(JSON.stringify(
      {
        device,
        profile: manifest.profile,
        workloads: reports.map(({ workload, rows, summary }) => ({
          ...summary,
          bytes: workload.bytes,
          kernels: rows.map(({ use, share, measured }) => ({ ...use, share, ...measured })),
        })),
      },
      null,
      1,
    ));
  } else {
    console.log(`device: ${device}, wave ${[...new Set([...kernels.values()].map((each) => each?.wave))].join("/")}`);
    for (const { workload, rows, summary } of reports) print(workload, rows, summary);
  }
}
