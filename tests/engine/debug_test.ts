/** `DEBUG` and `DUMP`: what each level tells, in processes of their own, because the environment is read once. */
import assert from "node:assert/strict";

const engine = new URL("../../src/engine/", import.meta.url);
const script = `
import { compile, f32, input, softmax } from "${engine}mod.ts";
import { debugTimeline } from "${engine}debug.ts";
const profile = { name: "portable", maxStorageBuffers: 8, maxWorkgroupBytes: 16384, maxInvocations: 256, maxBindingBytes: 2 ** 27 };
compile("example", { roots: new Map([["out", softmax(input("x", f32(4, 8)))]]) }, { profile });
debugTimeline("example", [{ name: "softmax", count: 1, microseconds: 2, flops: 4000, bytes: 8000 }]);
`;

/** Runs the script in a folder of its own; what it says, and the files it leaves. */
async function observe(environment: Record<string, string>, permissions: readonly string[]) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/script.ts`, script);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "--no-prompt", "--no-config", ...permissions, "script.ts"],
      env: { DEBUG: "", DUMP: "", NO_COLOR: "1", ...environment },
      cwd: folder,
    }).output();
    const said = new TextDecoder().decode(stderr);
    assert.ok(success, said);
    const titles = [...said.matchAll(/^--- (.*)$/gm)].map(([, title]) => title);
    const dumped = environment.DUMP
      ? [...Deno.readDirSync(`${folder}/${environment.DUMP}`)].map(({ name }) => name).sort()
      : [];
    return { titles, said, dumped };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const permitted = ["--allow-env=DEBUG,DUMP", "--allow-write=."];
const graphs = ["simplify", "expand", "simplify", "fuse", "materialise"].map((pass) => `example after ${pass}`);

Deno.test("debug: silence without DEBUG, and without the permission to read it", async () => {
  assert.equal((await observe({}, permitted)).said, "");
  assert.equal((await observe({ DEBUG: "4", DUMP: "" }, [])).said, "");
});

Deno.test("debug: level 1 tells of programs and memory, 2 of timelines", async () => {
  const { titles, said } = await observe({ DEBUG: "1" }, permitted);
  assert.deepEqual(titles, ["example"]);
  assert.match(said, /^softmax \[4,1,1\] b\d -> b\d$/m);
  assert.match(said, /^state 0\.0 MiB in 0 buffers, io 0\.0 MiB in 2 buffers, scratch 0\.0 MiB in 0 buffers$/m);
  const second = await observe({ DEBUG: "2" }, permitted);
  assert.deepEqual(second.titles, ["example", "example timeline"]);
  assert.match(second.said, /^softmax +1x {2}2 us {2}2\.0 GFLOP\/s {2}4\.0 GB\/s$/m);
});

Deno.test("debug: level 3 tells of graphs, 4 of WGSL, and DUMP writes everything", async () => {
  assert.deepEqual((await observe({ DEBUG: "3" }, permitted)).titles, [...graphs, "example", "example timeline"]);
  const { titles, said, dumped } = await observe({ DEBUG: "4", DUMP: "dump" }, permitted);
  assert.deepEqual(titles, [...graphs, "example", "example softmax", "example timeline"]);
  assert.match(said, /@compute @workgroup_size/);
  assert.deepEqual(dumped, [
    "0000-example-after-simplify.txt",
    "0001-example-after-expand.txt",
    "0002-example-after-simplify.txt",
    "0003-example-after-fuse.txt",
    "0004-example-after-materialise.txt",
    "0005-example.txt",
    "0006-example-softmax.wgsl",
    "0007-example-timeline.txt",
  ]);
});
