/** Who is blamed when the process that looks at pictures dies: the picture over which it dies, and no other. The process is a script. */
import assert from "node:assert/strict";
import { Fault } from "../../../src/jobs/model/job.ts";
import type { Task } from "../../../src/jobs/model/messages.ts";
import type { CallOptions } from "../../../src/jobs/workers/calls.ts";
import { openPictureCalls } from "../../../src/jobs/workers/picture_calls.ts";

type Inspection = Extract<Task, { task: "inspect" }>;

/** An inspector that dies over every task in which `isDeadly` finds something, as often as the task has lives; and what it was asked. */
function dyingOver(isDeadly: (fields: readonly string[]) => boolean) {
  const asked: { fields: string[]; lives: number | undefined }[] = [];
  const call = (task: Task, { lives, blame }: CallOptions = {}) => {
    const fields = (task as Inspection).pictures.map(({ field }) => field);
    asked.push({ fields, lives });
    return isDeadly(fields) ? Promise.reject(blame!("the inspector ended by SIGTRAP")) : Promise.resolve();
  };
  const calls = openPictureCalls({
    inspector: { call },
    machines: { model: () => Promise.reject(new Error("no model here")), call: () => Promise.resolve() },
  });
  return { asked, inspect: calls.inspect };
}

const pair: Inspection = {
  task: "inspect",
  pictures: [{ field: "structure", path: "a" }, { field: "appearance", path: "b" }],
  training: null,
};

/** The fields that a pair is refused for. */
async function blamed(inspect: (task: Inspection) => Promise<void>): Promise<string[]> {
  try {
    await inspect(pair);
    return [];
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === "damaged", `${error}`);
    return error.errors.map(({ field }) => field);
  }
}

Deno.test("pictures: of two the one is blamed over which the inspector dies", async () => {
  for (const deadly of ["structure", "appearance"]) {
    assert.deepEqual(await blamed(dyingOver((fields) => fields.includes(deadly)).inspect), [deadly]);
  }
});

Deno.test("pictures: a pair over which it dies, but over neither alone, is blamed as a pair", async () => {
  const { inspect, asked } = dyingOver((fields) => fields.length === 2);
  assert.deepEqual(await blamed(inspect), ["structure", "appearance"]);
  assert.deepEqual(asked.map(({ fields }) => fields.length), [2, 1, 1, 2]);
});

Deno.test("pictures: a death that was the machine's costs the pair nothing but time", async () => {
  let deaths = 0;
  const { inspect, asked } = dyingOver(() => deaths++ === 0);
  assert.deepEqual(await blamed(inspect), []);
  assert.equal(asked[0].lives, 1, "the pair is not tried twice before its parts are");
});
