/**
 * Runs one op alone on random numbers: how far the GPU is from the op's meaning, how long it takes, and its WGSL.
 *
 *   deno task play conv2d --x 1x3x64x64 --weight 8x3x3x3 --stride 2 --padding zero
 *   deno task play layer_norm --x 785x768 --weight 768x --bias 768x --epsilon 1e-6
 *   deno task play permute --x 64x32 --order 1,0 --profile portable
 *
 * A value of sides joined by x is an operand (a vector ends in x), in the op's order; `profile` chooses the kernels; all else are
 * the op's attributes.
 */
import { allOps, compile, EngineError, f32, input, openGpu, openRuntime, sizeOf, timeline } from "../src/engine/mod.ts";
import { apply } from "../src/engine/ir/graph.ts";
import { interpret } from "../src/engine/ir/interpret.ts";
import type { Attrs } from "../src/engine/ir/type.ts";
import { noise, relativeError } from "../tests/support/engine/numbers.ts";
import { profileNames } from "../tests/support/engine/profiles.ts";

function attribute(text: string): Attrs[string] {
  if (text === "true" || text === "false") return text === "true";
  if (text.includes(",")) return text.split(",").map(Number);
  return Number.isNaN(Number(text)) ? text : Number(text);
}

async function play([name, ...options]: readonly string[]): Promise<void> {
  const op = allOps.find((other) => other.name === name);
  if (!op) {
    throw new EngineError(`Cannot play ${name ?? "nothing"}: the ops are ${allOps.map(({ name }) => name).join(", ")}`);
  }
  const pairs = options.flatMap((option, i) => i % 2 === 0 ? [[option.replace(/^--/, ""), options[i + 1] ?? ""]] : []);
  const operands = pairs.filter(([, text]) => /^(\d+x)+\d*$/.test(text));
  const values = operands.map(([key, text]) => input(key, f32(...text.split("x").filter(Boolean).map(Number))));
  const rest = pairs.filter((pair) => !operands.includes(pair));
  const profileName = rest.find(([key]) => key === "profile")?.[1];
  const attrs = Object.fromEntries(
    rest.filter(([key]) => key !== "profile").map(([key, text]) => [key, attribute(text)]),
  );

  const graph = { roots: new Map([["out", apply(op, values, attrs)]]) };
  const feeds = new Map(values.map(({ type }, i) => [operands[i][0], noise(sizeOf(type.shape), i)]));
  const profile = profileNames.find((other) => other === profileName);
  const gpu = await openGpu(profile ? { profile } : {});
  const runtime = openRuntime(gpu);
  try {
    const { prelude, step } = compile(op.name, graph, { profile: gpu.profile });
    if (prelude) await runtime.run((await runtime.load([prelude]))[0]);
    const [loaded] = await runtime.load([step]);
    await runtime.run(loaded, new Map([...feeds].map(([key, data]) => [key, new Float32Array(data)])));
    const error = relativeError(await runtime.readOutput(loaded, "out"), interpret(graph, feeds).get("out")!);
    for (const { kernel } of step.steps) console.log(kernel.wgsl);
    console.log(`${op.name} on ${gpu.info.name}, ${gpu.profile.name}: relative error ${error.toExponential(2)}`);
    for (const { kernel, microseconds, flops, bytes } of await timeline(gpu, loaded)) {
      const [gigaflops, gigabytes] = [flops, bytes].map((amount) => (amount / microseconds / 1000).toFixed(2));
      console.log(`${kernel}: ${microseconds.toFixed(1)} us, ${gigaflops} GFLOP/s, ${gigabytes} GB/s`);
    }
  } finally {
    runtime.close();
  }
}

try {
  await play(Deno.args);
} catch (error) {
  if (!(error instanceof EngineError)) throw error;
  console.error(error.message);
  Deno.exit(1);
}
