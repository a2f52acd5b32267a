/** The smallest transfer that is a real one: pictures of a few dozen pixels, and an extractor of two blocks. */
import { fileURLToPath } from "node:url";
import { openGpu, openRuntime, randomStream, type Runtime } from "../../../src/engine/mod.ts";
import type { Picture } from "../../../src/images/picture.ts";
import type { Extractor } from "../../../src/splice/transfer/extractor.ts";
import { fingerprintOf } from "../../../src/splice/transfer/fingerprint.ts";
import { parseRecipe, type Recipe } from "../../../src/splice/transfer/recipe.ts";
import {
  openTrainer,
  type StepReport,
  type Trainer,
  type TrainerOptions,
} from "../../../src/splice/transfer/trainer.ts";
import { loadVit } from "../../../src/weights/store/store.ts";

export const tinyModel = fileURLToPath(new URL("../../fixtures/cases/vit.safetensors", import.meta.url));
export const tinyExtractor: Extractor = await loadVit(tinyModel);

/** Waves of colour and a little noise. */
export function tinyPicture(width: number, height: number, seed: number): Picture {
  const random = randomStream(seed);
  const [fx, fy, phase] = [random.uniform(), random.uniform(), 6 * random.uniform()];
  const data = Float32Array.from({ length: 3 * width * height }, (_, i) => {
    const [c, y, x] = [Math.floor(i / (width * height)), Math.floor(i / width) % height, i % width];
    return 0.5 + 0.4 * Math.sin(phase + 2 * c + fx * x / 3 + fy * y / 5) + 0.1 * (random.uniform() - 0.5);
  });
  return { width, height, data };
}

export function recipe(options: Readonly<Record<string, unknown>> = {}): Recipe {
  const parsed = parseRecipe({ vit_side: 32, steps: 6, entire_every: 4, ...options });
  if (!parsed.ok) throw new Error(parsed.errors.map(({ message }) => message).join("\n"));
  return parsed.recipe;
}

/** Runs `use` with a trainer of its own on a device of its own. */
export async function withTrainer<T>(
  options: Partial<Omit<TrainerOptions, "runtime">>,
  use: (trainer: Trainer, runtime: Runtime) => Promise<T>,
): Promise<T> {
  const runtime = openRuntime(await openGpu());
  try {
    const ingredients = {
      structure: tinyPicture(52, 44, 1),
      appearance: tinyPicture(40, 48, 2),
      extractor: tinyExtractor,
      recipe: recipe(),
      ...options,
    };
    return await use(
      await openTrainer({ fingerprint: fingerprintOf(ingredients), ...ingredients, runtime }),
      runtime,
    );
  } finally {
    runtime.close();
  }
}

/** Trains `steps` more steps and returns their reports without times. */
export async function trainTo(trainer: Trainer, until: number): Promise<Pick<StepReport, "step" | "losses">[]> {
  const seen: Pick<StepReport, "step" | "losses">[] = [];
  await trainer.train({
    until,
    onSteps: (reports) => void seen.push(...reports.map(({ step, losses }) => ({ step, losses }))),
  });
  return seen;
}
