/**
 * Rendering with a trained generator: any picture, at its own size, or in parts at any size with the statistics of a smaller rendering. No extractor and no training are
 * involved.
 */
import { compile, EngineError, f32, input, type Runtime } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { uprightRows } from "../../images/raster.ts";
import type { Rows } from "../../images/scale.ts";
import { generate, generateKeeping, generateKept, normalisedChannels, openGenerator, REACH } from "../../nets/unet.ts";
import type { TrainedGenerator } from "./checkpoint.ts";
import { megabytes, refuseUnlessItFits, tryPlan } from "./memory.ts";

export interface Rendering {
  readonly generator: TrainedGenerator;
  readonly picture: Picture;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
}

/** G(picture). @throws EngineError with a size that fits, if this one does not. */
export async function applyGenerator(runtime: Runtime, options: Rendering): Promise<Picture> {
  const { width, height, data } = options.picture;
  const plan = (h: number, w: number) => {
    const image = generate(openGenerator("applied"), input("picture", f32(3, h, w)));
    const roots = new Map([["image", image]]);
    return tryPlan(() => compile(`apply ${w}x${h}`, { roots }, { profile: runtime.gpu.profile }));
  };
  const { memory, compiled } = plan(height, width);
  const longest = Math.max(height, width);
  refuseUnlessItFits(memory, {
    action: "render",
    bindingBytes: runtime.gpu.limits.bindingBytes,
    totalBytes: options.memoryLimit,
    options: [{
      name: "size",
      value: longest,
      planAt: (size) => plan(Math.ceil(height * size / longest), Math.ceil(width * size / longest)).memory,
    }],
  });
  runtime.writeState("applied", options.generator.slab);
  const [program] = await runtime.load([compiled!.step]);
  await runtime.run(program, new Map([["picture", data]]));
  return { width, height, data: (await runtime.readOutput(program, "image")) as Float32Array<ArrayBuffer> };
}

export interface WholeRendering extends Rendering {
  /** The picture as large as it is to be; `picture` is the same, as small as the generator knows pictures. */
  readonly full: Rows;
  /** Told how much of it is painted, in [0, 1]; what it throws ends the painting. */
  onShare?(share: number): void;
  /** Of a window at most, if sides of `LEAST_SIDE` leave the choice. */
  readonly windowPixels?: number;
}

/**
 * G(full), normalised by the statistics that `picture` has there: with its own, the colours of a picture much larger than those of the training would be others. Windows
 * are painted that overlap as far as pixels look, so what is painted does not depend on them, and neither the device nor this machine holds more than one of
 * them, but for the samples, in 8 bits.
 */
export async function renderWhole(runtime: Runtime, options: WholeRendering): Promise<Rows> {
  const { generator, full, onShare } = options;
  const { width, height } = full;
  runtime.writeState("applied", generator.slab);
  const kept = await keptOf(runtime, options.picture);
  const { size, step } = windowFor(runtime, options);
  const [program] = await runtime.load([step]);
  const across = windowsAlong(width, size.width);
  const down = windowsAlong(height, size.height);
  const band = openBand(full, size.height);
  const picture = new Float32Array(3 * size.width * size.height);
  const bytes = new Uint8Array(3 * width * height);
  for (const [row, rows] of down.entries()) {
    band.moveTo(rows.start);
    for (const [column, columns] of across.entries()) {
      onShare?.((row + column / across.length) / down.length);
      band.copy(columns.start, size.width, picture);
      await runtime.run(program, new Map([["picture", picture], ["kept", kept]]));
      const image = await runtime.readOutput(program, "image");
      for (let c = 0; c < 3; c++) {
        for (let y = rows.from; y < rows.to; y++) {
          const line = (c * size.height + y - rows.start) * size.width - columns.start;
          const to = 3 * y * width + c;
          for (let x = columns.from; x < columns.to; x++) bytes[to + 3 * x] = Math.round(255 * image[line + x]);
        }
      }
    }
  }
  onShare?.(1);
  return uprightRows({ width, height, channels: 3, max: 255, bytes, orientation: 1, colours: null });
}

/** What the normalisations of the small picture came to: see `generateKeeping`. The generator is loaded. */
async function keptOf(runtime: Runtime, { width, height, data }: Picture): Promise<Float32Array> {
  const { kept } = generateKeeping(openGenerator("applied"), input("picture", f32(3, height, width)));
  const { step } = compile(`keep ${width}x${height}`, { roots: new Map([["kept", kept]]) }, {
    profile: runtime.gpu.profile,
  });
  const [program] = await runtime.load([step]);
  await runtime.run(program, new Map([["picture", data]]));
  return await runtime.readOutput(program, "kept");
}

/** Sides of windows are multiples of the generator's strides, and begin at such, so that all of its levels lie as in the whole. */
const STRIDES = 32;
/** Pixels: more gain little, and a device that draws a screen as well is not to be held up for long. */
const MOST_WINDOW = 2 << 20;
const LEAST_SIDE = 2 * REACH + STRIDES;

/** The largest window that the device has room for, and its program. @throws EngineError if there is none */
function windowFor(runtime: Runtime, { full, memoryLimit = Infinity, windowPixels = MOST_WINDOW }: WholeRendering) {
  const { profile, limits: { bindingBytes } } = runtime.gpu;
  for (let pixels = windowPixels;;) {
    const height = sideOf(full.height, pixels / sideOf(full.width, Math.sqrt(pixels)));
    const size = { width: sideOf(full.width, pixels / height), height };
    const image = generateKept(
      openGenerator("applied"),
      input("picture", f32(3, size.height, size.width)),
      input("kept", f32(2, normalisedChannels)),
    );
    const name = `window ${size.width}x${size.height}`;
    const { memory, compiled } = tryPlan(() => compile(name, { roots: new Map([["image", image]]) }, { profile }));
    const share = Math.min(bindingBytes / memory.largestBytes, memoryLimit / memory.totalBytes);
    if (share >= 1 && compiled !== null) return { size, step: compiled.step };
    if (pixels <= LEAST_SIDE ** 2) {
      throw new EngineError(
        `Cannot paint the whole picture: even a part of ${size.width} x ${size.height} pixels needs ${
          megabytes(memory.totalBytes)
        }, its largest tensor ${
          megabytes(memory.largestBytes)
        }, which is more than this device has free; use detail = guided`,
        { kind: "memory" },
      );
    }
    pixels = Math.max(LEAST_SIDE ** 2, pixels * Math.max(0.5, Math.min(0.95, share)));
  }
}

/** The side of windows along a side of the picture: of nearly so many pixels, and such that the last one ends with the picture. */
function sideOf(length: number, wanted: number): number {
  if (length <= Math.max(wanted, LEAST_SIDE)) return length;
  const rest = length % STRIDES;
  return STRIDES * Math.floor((Math.max(wanted, LEAST_SIDE + STRIDES) - rest) / STRIDES) + rest;
}

/** A window along one side: where it begins, and which pixels are taken from it. */
interface Window {
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

/** Windows that cover a side: each pixel is taken from one in which nothing is missing that it looks at. */
function windowsAlong(length: number, side: number): Window[] {
  const windows: Window[] = [];
  const step = STRIDES * Math.floor((side - 2 * REACH) / STRIDES);
  for (let start = 0, from = 0;; start = Math.min(start + step, length - side)) {
    const last = start + side === length;
    const to = last ? length : start + side - REACH;
    windows.push({ start, from, to });
    if (last) return windows;
    from = to;
  }
}

/** So many rows of the picture, which go down it. */
function openBand(full: Rows, height: number) {
  const { width } = full;
  const data = new Float32Array(3 * width * height); // [3, height, width]
  const row = new Float32Array(3 * width);
  let start = 0;
  let held = 0;
  return {
    moveTo(y: number): void {
      const gone = Math.min(held, y - start);
      for (let c = 0; c < 3; c++) {
        data.copyWithin(c * height * width, (c * height + gone) * width, (c + 1) * height * width);
      }
      held -= gone;
      start = y;
      for (; held < height; held++) {
        full.read(start + held, row);
        for (let c = 0; c < 3; c++) data.set(row.subarray(c * width, (c + 1) * width), (c * height + held) * width);
      }
    },
    /** Writes the columns from x on as [3, height, count]. */
    copy(x: number, count: number, into: Float32Array): void {
      for (let line = 0; line < 3 * height; line++) {
        into.set(data.subarray(line * width + x, line * width + x + count), line * count);
      }
    },
  };
}
