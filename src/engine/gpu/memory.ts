/**
 * The buffers of one runtime: states by name, scratch by rank of size, everything else on its own. V8 does not see what they
 * weigh, so they are owned here and freed together.
 */
import type { BufferId, Program } from "../ir/program.ts";
import { EngineError } from "../ir/type.ts";
import type { Gpu } from "./device.ts";

export const STORAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

export interface Memory {
  allocate(label: string, bytes: number, usage: number): GPUBuffer;
  /** The state of this name, made at first sight. */
  state(name: string, bytes: number): GPUBuffer;
  find(name: string): { readonly buffer: GPUBuffer; readonly bytes: number } | undefined;
  /** A buffer for each of a program's scratch buffers: the nth largest of every program is the same one, as long as it fits. */
  scratch(program: Program): Map<BufferId, GPUBuffer>;
  bytes(): number;
  release(): void;
}

export function openMemory(gpu: Gpu): Memory {
  const owned = new Set<GPUBuffer>();
  const states = new Map<string, { buffer: GPUBuffer; bytes: number }>();
  let pool: GPUBuffer[] = [];

  function allocate(label: string, bytes: number, usage: number): GPUBuffer {
    if (bytes > gpu.limits.bufferBytes) {
      throw new EngineError(
        `Cannot allocate ${label}: ${mebibytes(bytes)}, and a buffer of this device has at most ` +
          `${mebibytes(gpu.limits.bufferBytes)}; choose a smaller size`,
      );
    }
    // Whole vec4s: kernels may bind any buffer as an array of them.
    const buffer = gpu.device.createBuffer({ label, size: Math.ceil(Math.max(bytes, 16) / 16) * 16, usage });
    owned.add(buffer);
    return buffer;
  }

  return {
    allocate,
    state(name, bytes) {
      const known = states.get(name);
      if (known && known.bytes !== bytes) throw new Error(`Bug: state ${name} has ${known.bytes} bytes, not ${bytes}`);
      if (known) return known.buffer;
      const buffer = allocate(name, bytes, STORAGE);
      states.set(name, { buffer, bytes });
      return buffer;
    },
    find: (name) => states.get(name),
    scratch(program) {
      const wanted = [...program.buffers].filter(([, { role }]) => role.kind === "scratch")
        .sort(([, a], [, b]) => b.bytes - a.bytes);
      const made = new Map<BufferId, GPUBuffer>();
      const now = [...pool];
      for (const [rank, [id, { bytes }]] of wanted.entries()) {
        if (!now[rank] || now[rank].size < bytes) now[rank] = allocate(`scratch ${rank}`, bytes, STORAGE);
        made.set(id, now[rank]);
      }
      pool = now.sort((a, b) => b.size - a.size);
      return made;
    },
    bytes: () => [...owned].reduce((sum, buffer) => sum + buffer.size, 0),
    release() {
      for (const buffer of owned) buffer.destroy();
      owned.clear();
      states.clear();
      pool = [];
    },
  };
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}
