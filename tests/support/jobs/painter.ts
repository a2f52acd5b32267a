/**
 * Stands in for `splice worker` where a test, or a person, looks at the page: a worker that seems to train. It gives the structure picture the appearance picture's colours
 * by their means and deviations, lets the colours come slowly in previews, and invents losses that fall; an inversion gets the photograph's own colours. No GPU is needed.
 */
import { decodeImage } from "../../../src/images/decode.ts";
import { encodeImage } from "../../../src/images/encode.ts";
import { fitPicture, type Picture } from "../../../src/images/picture.ts";
import { writeWhole } from "../../../src/jobs/machine/write_whole.ts";
import { INPUTS } from "../../../src/jobs/model/work.ts";
import type { Task } from "../../../src/jobs/model/messages.ts";
import { act, after, checkpointOf, interruption, type Run, say } from "./scripted_worker.ts";

/** Seeds that change what happens. */
export const PAINTER_SEEDS = {
  /** Fails at its fifth step. */
  fails: 404,
  /** A tenth of a second a step, and a second and a half to warm up. */
  slow: 500,
  /** Stands still after its thirtieth step until it is interrupted; goes on from there when it is started again. */
  held: 600,
} as const;

const adapter = "Painter";
const read = async (path: string) => await decodeImage(await Deno.readFile(path), { label: path });

/** Mean and deviation of each colour. */
function toneOf({ data, width, height }: Picture): { mean: number; deviation: number }[] {
  return [0, 1, 2].map((colour) => {
    const plane = data.subarray(colour * width * height, (colour + 1) * width * height);
    const mean = plane.reduce((sum, value) => sum + value, 0) / plane.length;
    const square = plane.reduce((sum, value) => sum + (value - mean) ** 2, 0) / plane.length;
    return { mean, deviation: Math.sqrt(square) + 1e-3 };
  });
}

type Tones = ReturnType<typeof toneOf>;

/** The picture in other tones; `share` of it, the rest is grey. */
function paint(picture: Picture, { to, share }: { to: Tones; share: number }): Picture {
  const from = toneOf(picture);
  const plane = picture.width * picture.height;
  const data = picture.data.map((value, at) => {
    const colour = Math.floor(at / plane);
    const painted = (value - from[colour].mean) / from[colour].deviation * to[colour].deviation + to[colour].mean;
    const i = at % plane;
    const grey = (picture.data[i] + picture.data[plane + i] + picture.data[2 * plane + i]) / 3;
    return Math.min(1, Math.max(0, painted * share + grey * (1 - share)));
  });
  return { ...picture, data };
}

async function train(run: Run): Promise<void> {
  const { job, folder, work } = run;
  const { steps, seed, preview_every, size = 960 } = work.options;
  const checkpoint = checkpointOf(run);
  const from = await checkpoint.read();
  const [structure, appearance] = await Promise.all(
    INPUTS[work.kind].map(async (name) => fitPicture(await read(`${folder}/${name}`), size)),
  );
  const to = toneOf(appearance ?? structure);
  const slow = seed === PAINTER_SEEDS.slow;
  say({
    say: "started",
    job,
    adapter,
    model: work.options.model ?? "splice-tiny8",
    steps,
    step: from,
    memory_bytes: 1 << 20,
  });
  if (slow || seed === PAINTER_SEEDS.held) await pause(1500);
  for (let step = from + 1; step <= steps; step++) {
    await after(slow ? 100 : 4);
    while (step === 31 && from === 0 && seed === PAINTER_SEEDS.held && interruption() === null) await after(20);
    const how = interruption();
    if (how !== null) {
      await checkpoint.write(step - 1);
      return say({ say: how, job });
    }
    if (step === 5 && seed === PAINTER_SEEDS.fails) {
      const detail = "Cannot go on: at step 5 the total loss is no number. Try a smaller learning_rate.";
      return say({ say: "failed", job, fault: { code: "untrainable", detail, errors: [] } });
    }
    const pace = slow ? 10 : 50;
    const losses = work.kind === "splice" ? lossesAt(step, work.options.entire_every) : { total: 40 / step };
    say({
      say: "progress",
      job,
      step,
      steps,
      losses,
      steps_per_second: pace,
      eta_seconds: (steps - step) / pace,
      seconds: [1 / pace],
    });
    if (preview_every > 0 && step % preview_every === 0) {
      const preview = paint(structure, { to, share: 0.15 + 0.85 * Math.sqrt(step / steps) });
      await writeWhole(`${folder}/preview.jpg`, await encodeImage(preview, "jpeg"));
      say({ say: "preview", job, step });
    }
  }
  await writeWhole(`${folder}/result.png`, await encodeImage(paint(structure, { to, share: 1 }), "png"));
  if (work.kind === "splice") await Deno.writeTextFile(`${folder}/generator.safetensors`, JSON.stringify(to));
  say({ say: "succeeded", job });

  async function pause(ms: number): Promise<void> {
    for (let left = ms; left > 0 && interruption() === null; left -= 100) await after(100);
  }
}

/** Losses as a training might have them: noisy, falling, the whole picture now and then. */
function lossesAt(step: number, entireEvery: number): Record<string, number> {
  const wave = (seed: number) => 1 + 0.22 * Math.sin(step * 1.7 * seed) + 0.14 * Math.sin(step * 0.61 * seed + seed);
  const fall = (from: number, to: number, pace: number) => to + (from - to) * Math.exp(-step / pace);
  const losses: Record<string, number> = {
    global_cls: fall(5.2, 0.9, 60) * wave(1),
    global_ssim: fall(0.05, 0.012, 90) * wave(2),
    global_id: fall(1.6, 0.22, 70) * wave(3),
  };
  if (step % entireEvery === 0) {
    losses.entire_cls = fall(5, 0.8, 60);
    losses.entire_ssim = fall(0.05, 0.011, 90);
  }
  const weigh = (name: string, weight: number) => weight * (losses[name] ?? 0);
  const total = weigh("global_cls", 10) + weigh("global_ssim", 1) + weigh("global_id", 1) + weigh("entire_cls", 10) +
    weigh("entire_ssim", 1);
  return { total, ...losses };
}

/** Something to look at, different for each look and each of its options: the photograph in grey, and light around a place of it. */
function look({ look: { look, options } }: Extract<Task, { task: "look" }>, picture: Picture): Picture {
  const { width, height } = picture;
  const place = look === "similarity" ? options : { x: 0.3 + 0.1 * (options.layer ?? 11) / 11, y: 0.4 };
  const plane = width * height;
  const data = picture.data.map((_, at) => {
    const [colour, i] = [Math.floor(at / plane), at % plane];
    const grey = (picture.data[i] + picture.data[plane + i] + picture.data[2 * plane + i]) / 3;
    const far = Math.hypot((i % width) / width - place.x, Math.floor(i / width) / height - place.y);
    const light = look === "pca"
      ? 0.5 + 0.5 * Math.cos(9 * far + 2 * colour)
      : Math.exp(-9 * far * far) * (colour < 2 ? 1 : 0.2);
    return 0.4 * grey + 0.6 * light;
  });
  return { ...picture, data };
}

async function perform(task: Task): Promise<void> {
  if (task.task === "look") {
    await Deno.writeFile(task.out, await encodeImage(look(task, await read(task.picture)), task.format));
  }
  if (task.task !== "apply") return;
  const to: Tones = JSON.parse(await Deno.readTextFile(task.generator));
  await Deno.writeFile(task.out, await encodeImage(paint(await read(task.picture), { to, share: 1 }), task.format));
}

if (import.meta.main) await act({ adapter, train, perform });
