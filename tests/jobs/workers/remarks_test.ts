/** What reaches the log of a process that prints too much. */
import assert from "node:assert/strict";
import { remarks } from "../../../src/jobs/workers/remarks.ts";
import { onFloor } from "../../support/jobs/floor.ts";

Deno.test("remarks: long lines are cut, endless ones are counted, and there is room for news again", () => {
  const lines: string[] = [];
  let clock = 0;
  const remark = remarks((line) => lines.push(line), () => clock);
  remark("x".repeat(1e6));
  for (let i = 0; i < 1000; i++) remark(`line ${i}`);
  assert.deepEqual([lines.length, lines[0].length, lines.at(-1)], [100, 2000, "line 98"]);
  clock = 60_000;
  remark("news");
  assert.deepEqual(lines.slice(100), ["901 lines were left out", "news"]);
});

Deno.test("remarks: a worker that prints nothing but garbage fills neither the log nor the server", async () => {
  const garbage = 'yes \'garbage \\036{"say":"ready"}\' & a=$!; yes warning >&2 & b=$!; sleep 0.5; kill $a $b; exit 3';
  await onFloor(
    { command: () => ({ command: "sh", args: ["-c", garbage] }) },
    async ({ ledger, logged, supervisor }) => {
      let turns = 0;
      while (!logged.some((line) => /ended with code 3/.test(line))) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        turns++;
      }
      assert.ok(turns > 3, "nothing else had its turn");
      assert.ok(logged.length < 110, `${logged.length} lines`);
      assert.deepEqual([supervisor.ready(), ledger.counts().running], [0, 0]);
    },
  );
});
