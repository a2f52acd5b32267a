/** The walk of someone who stops a run by Ctrl-C and lets it go on later: nothing is lost, and what it leaves are the bytes of a run that never stopped. */
import assert from "node:assert/strict";
import { type Desk, type Ended, ended, jsonLines } from "./desk.ts";

export interface InterruptionOptions {
  /** The command without the files it writes and without its steps; it is to paint no previews. */
  readonly args: readonly string[];
  /** Steps that it goes on for. */
  readonly more: number;
  /** What the two runs that come to their end are given beside; the one that was stopped is called `part`, the other `whole`. */
  readonly toTheEnd?: (name: string) => readonly string[];
  /** Endings of the files NAME.ENDING that must be the same, beside those of picture and checkpoint. */
  readonly endings?: readonly string[];
  /** What happens to the files while it is stopped. */
  readonly meanwhile?: (done: number) => Promise<void>;
}

export interface Interruption {
  /** Steps after which it stopped, and those of both runs in the end. */
  readonly done: number;
  readonly steps: number;
  readonly resumed: Ended;
  readonly whole: Ended;
  /** The arguments of a run of so many steps, with NAME.png, NAME.jsonl and NAME.ckpt as its files, and --resume. */
  command(name: string, steps: number): string[];
}

export async function stopAndGoOn(desk: Desk, options: InterruptionOptions): Promise<Interruption> {
  const { folder, splice, start, has } = desk;
  const { toTheEnd = () => [], endings = [] } = options;
  const read = (name: string) => Deno.readFileSync(`${folder}/${name}`);
  const lines = (name: string) => jsonLines(new TextDecoder().decode(read(`${name}.jsonl`)));
  const command = (name: string, steps: number) => {
    const files = ["--out", `${name}.png`, "--metrics", `${name}.jsonl`, "--checkpoint", `${name}.ckpt`, "--resume"];
    return [...options.args, "--steps", String(steps), "--preview-every", "0", ...files];
  };

  const child = start(...command("part", 1_000_000));
  const result = ended(child);
  while (!has("part.jsonl")) await new Promise((done) => setTimeout(done, 20));
  child.kill("SIGINT");
  const { code, err } = await result;
  assert.equal(code, 130, err);
  const stopped = /^Stopped after (\d+) of 1000000 steps; the same command with --resume goes on from part\.ckpt$/m;
  const done = Number(stopped.exec(err)?.[1]);
  assert.ok(done > 0, err);
  assert.equal(lines("part").length, done);
  assert.ok(!has("part.png"));
  await options.meanwhile?.(done);

  const steps = done + options.more;
  const resumed = await splice(...command("part", steps), ...toTheEnd("part"));
  assert.equal(resumed.code, 0, resumed.err);
  assert.match(resumed.err, new RegExp(`going on after step ${done}`));
  const whole = await splice(...command("whole", steps), ...toTheEnd("whole"));
  assert.equal(whole.code, 0, whole.err);
  for (const ending of ["png", "ckpt", ...endings]) {
    assert.deepEqual(read(`part.${ending}`), read(`whole.${ending}`), `the ${ending} of both`);
  }
  const untimed = (name: string) => lines(name).map(({ ms: _, ...line }) => line);
  assert.deepEqual(untimed("part"), untimed("whole"));

  const other = await splice(...command("part", steps), "--seed", "4");
  assert.equal(other.code, 1);
  assert.match(other.err, /^splice: Cannot go on from the checkpoint: it is of another run \(seed is 4, was 0\)/m);
  return { done, steps, resumed, whole, command };
}
