/**
 * The generator between its two shapes: one slab of trained numbers on the GPU, named tensors in files; and checkpoints, from
 * which a run goes on as if it had not stopped.
 *
 * A checkpoint is a generator file with both Adam moments and the step beside it, so it can also be used as a generator.
 * Invariant: slab -> tensors -> slab gives the same numbers, bit for bit.
 */
import { parameterCount, parameters } from "../../nets/unet.ts";
import { checkGenerator, generatorShapes } from "../../weights/formats/generator_names.ts";
import type { HostTensor, StateDict } from "../../weights/formats/tensor.ts";
import { type RandomStream, type Runtime, sizeOf } from "../../engine/mod.ts";

const MOMENTS = ["adam.first", "adam.second"] as const;

/** Named tensors of a slab; biases that a normalisation follows are zeros. */
export function unpackGenerator(slab: Float32Array): StateDict {
  const parts = new Map<string, Float32Array>();
  for (const { name, kind, offset, shape } of parameters) {
    const values = slab.slice(offset, offset + sizeOf(shape));
    if (kind === "affine") {
      parts.set(`${name}.weight`, values.slice(0, shape[1]));
      parts.set(`${name}.bias`, values.slice(shape[1]));
    } else parts.set(name, values);
  }
  return new Map(
    Array.from(
      generatorShapes(),
      (
        [name, shape],
      ): [string, HostTensor] => [name, { shape, data: parts.get(name) ?? new Float32Array(sizeOf(shape)) }],
    ),
  );
}

/** The slab of a checked generator; what has no effect is left out. */
export function packGenerator(tensors: StateDict): Float32Array {
  const slab = new Float32Array(parameterCount);
  for (const { name, kind, offset, shape } of parameters) {
    if (kind === "affine") {
      slab.set(tensors.get(`${name}.weight`)!.data, offset);
      slab.set(tensors.get(`${name}.bias`)!.data, offset + shape[1]);
    } else slab.set(tensors.get(name)!.data, offset);
  }
  return slab;
}

/** Conv weights Xavier-normal x 0.02, biases 0, normalisation weights N(1, 0.02), biases 0: the published initialisation. */
export function freshSlab(random: RandomStream): Float32Array {
  const slab = new Float32Array(parameterCount);
  for (const { kind, shape, offset } of parameters) {
    if (kind === "weight") {
      const [outputs, inputs, kh, kw] = shape;
      const deviation = 0.02 * Math.sqrt(2 / ((inputs + outputs) * kh * kw));
      for (let i = 0; i < sizeOf(shape); i++) slab[offset + i] = deviation * random.normal();
    } else if (kind === "affine") {
      for (let c = 0; c < shape[1]; c++) slab[offset + c] = 1 + 0.02 * random.normal();
    }
  }
  return slab;
}

/** Everything a run needs to go on: parameters and moments after `step` steps. */
export interface Checkpoint {
  readonly step: number;
  readonly slab: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
  /** What the run was made of; a run that differs refuses to go on from it. */
  readonly fingerprint: string;
}

/** The trained numbers and both Adam moments, as `withAdam` keeps them on the GPU. */
const statesOf = (name: string) => [name, `${name}.m`, `${name}.v`] as const;

/** Writes what training begins with; moments that are not given are zeros. */
export function writeTrained(
  runtime: Runtime,
  name: string,
  { slab, first = new Float32Array(slab.length), second = new Float32Array(slab.length) }:
    & Pick<Checkpoint, "slab">
    & Partial<Pick<Checkpoint, "first" | "second">>,
): void {
  const [numbers, m, v] = statesOf(name);
  runtime.writeState(numbers, slab);
  runtime.writeState(m, first);
  runtime.writeState(v, second);
}

export async function readTrained(
  runtime: Runtime,
  name: string,
): Promise<Pick<Checkpoint, "slab" | "first" | "second">> {
  const [numbers, m, v] = statesOf(name);
  return {
    slab: await runtime.readState(numbers),
    first: await runtime.readState(m),
    second: await runtime.readState(v),
  };
}

/** A checkpoint as the content of a safetensors file. */
export function encodeCheckpoint(checkpoint: Checkpoint): { tensors: StateDict; metadata: Record<string, string> } {
  const tensors = new Map(unpackGenerator(checkpoint.slab));
  for (const [i, data] of [checkpoint.first, checkpoint.second].entries()) {
    tensors.set(MOMENTS[i], { shape: [data.length], data });
  }
  return {
    tensors,
    metadata: { kind: "splice-checkpoint", step: String(checkpoint.step), fingerprint: checkpoint.fingerprint },
  };
}

/** Tensors, and what stands beside them: the content of a safetensors file. */
export interface GeneratorFile {
  readonly tensors: StateDict;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A trained generator as rendering needs it. */
export interface TrainedGenerator {
  readonly slab: Float32Array;
  /** The longest side that it was trained at, in pixels; undefined where its file does not say, as older ones do not. */
  readonly size: number | undefined;
}

/** A generator's file. `metadata`: what else is to be known of it. */
export function encodeGenerator({ slab, size }: TrainedGenerator, metadata: Record<string, string>): GeneratorFile {
  const trained = size === undefined ? {} : { size: String(size) };
  return { tensors: unpackGenerator(slab), metadata: { kind: "splice-generator", ...metadata, ...trained } };
}

/** The generator in a file of its own, or in a checkpoint. @throws WeightsError naming `label` if it is neither. */
export function readGenerator({ tensors, metadata }: GeneratorFile, label: string): TrainedGenerator {
  return { slab: generatorSlab(tensors, label), size: trainedSize(metadata) };
}

function trainedSize({ size = "", fingerprint = "" }: Readonly<Record<string, string>>): number | undefined {
  const [, width, height] = /"structure":"(?:\d+x\d+ \w+ as )?(\d+)x(\d+)/.exec(fingerprint) ?? [];
  if (width !== undefined) return Math.max(Number(width), Number(height));
  return /^[1-9]\d*$/.test(size) ? Number(size) : undefined;
}

/**
 * The slab of a generator file, or of a checkpoint, which holds one among other things.
 * @throws WeightsError naming `label` if it is neither.
 */
export function generatorSlab(tensors: StateDict, label: string): Float32Array {
  const generator = new Map(tensors);
  for (const name of MOMENTS) generator.delete(name);
  checkGenerator(generator, label);
  return packGenerator(generator);
}

/** Reads a checkpoint back; null where the file is none. */
export function decodeCheckpoint(tensors: StateDict, metadata: Readonly<Record<string, string>>): Checkpoint | null {
  const [first, second] = MOMENTS.map((name) => tensors.get(name)?.data);
  const step = Number(metadata.step);
  if (
    metadata.kind !== "splice-checkpoint" || [...generatorShapes().keys()].some((name) => !tensors.has(name)) ||
    first?.length !== parameterCount || second?.length !== parameterCount ||
    !Number.isInteger(step)
  ) return null;
  return { step, slab: packGenerator(tensors), first, second, fingerprint: metadata.fingerprint ?? "" };
}
