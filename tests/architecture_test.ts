/**
 * The shape of the code, proved on its text: what imports what, who may touch the GPU, the environment and the HTTP library, and how large a file may be. Not a parser:
 * comments are taken out and the rest is matched by patterns, which is enough for formatted code. Each breach is one line that names the file and the rule.
 */
import assert from "node:assert/strict";

/** A file imports only from rows above its own, and from its own folder. Folders in one row do not know each other. */
const order: readonly (readonly string[])[] = [
  ["src/engine/ir/", "src/engine/random.ts"],
  ["src/engine/debug.ts"],
  ["src/engine/wgsl/"],
  ["src/engine/ops/"],
  ["src/engine/grad.ts"],
  ["src/engine/adam.ts"],
  ["src/engine/compile/"],
  ["src/engine/gpu/"],
  ["src/engine/mod.ts"],
  ["src/nets/", "src/weights/", "src/images/"],
  ["src/splice/"],
  ["src/jobs/"],
  ["src/web/"],
  ["src/routes/"],
  ["src/cli/"],
  ["main.ts"],
];
const kernelFamilies = ["src/engine/wgsl/", "src/engine/ops/"];
const readsEnvironment = ["main.ts", "src/cli/", "src/engine/debug.ts"];

/** Path from the root, to its text. */
type Files = ReadonlyMap<string, string>;
type Rule = (files: Files) => string[];

const rules: Readonly<Record<string, Rule>> = {
  "a file imports only from its left": direction,
  "no import goes round in a circle": cycles,
  "outside src/engine only its mod.ts is imported": (files) =>
    each(files, (path, text) => {
      if (path.startsWith("src/engine/")) return [];
      return imports(path, text).filter((to) => to.startsWith("src/engine/") && to !== "src/engine/mod.ts").map((to) =>
        `imports ${to}`
      );
    }),
  "only src/engine/gpu names a GPU type": (files) =>
    each(
      files,
      (path, text) => path.startsWith("src/engine/gpu/") ? [] : matches(text, /\bGPU[A-Z]\w*|\bnavigator\.gpu\b/g),
    ),
  "only src/routes names Hono": (files) =>
    each(
      files,
      (path, text) =>
        path.startsWith("src/routes/") ? [] : imports(path, text).filter((to) => /^(npm:)?(hono\b|@hono\/)/.test(to)),
    ),
  "only main.ts, src/cli and src/engine/debug.ts read arguments or environment": (files) =>
    each(
      files,
      (path, text) =>
        within(path, readsEnvironment) ? [] : matches(text, /\bDeno\.(args|env)\b|\bprocess\.(argv|env)\b/g),
    ),
  "a file has at most 300 lines (a kernel family 400)": (files) =>
    each(files, (path, text) => {
      const lines = text.trimEnd().split("\n").length;
      return lines > (within(path, kernelFamilies) ? 400 : 300) ? [`has ${lines} lines: it is two ideas`] : [];
    }),
  "no index.ts, no utils.ts": (files) =>
    each(files, (path) => /(^|\/)(index|utils?)\.tsx?$/.test(path) ? ["say what it holds"] : []),
  "no default exports": (files) => each(files, (_, text) => matches(text, /\bexport default\b|\bas default\b/g)),
  "no any": (files) => each(files, (_, text) => matches(text, /(:\s*|\bas |<|\|\s*)any\b(?!\()|\bany\[\]/g)),
  "classes extend nothing but Error": (files) =>
    each(files, (_, text) => matches(text, /\bclass \w+(<[^{]*>)? extends (?!Error\b)\w+/g)),
};

function direction(files: Files): string[] {
  return each(files, (path, text) => {
    const row = order.findIndex((folders) => within(path, folders));
    if (row < 0) return ["has no place in the order of tests/architecture_test.ts"];
    const home = order[row].find((folder) => path.startsWith(folder));
    return imports(path, text).filter((to) => files.has(to) || to.startsWith("src/")).flatMap((to) => {
      const theirs = order.findIndex((folders) => within(to, folders));
      return theirs < row || (home?.endsWith("/") && to.startsWith(home)) ? [] : [`imports ${to}`];
    });
  });
}

function cycles(files: Files): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  function visit(path: string, trail: readonly string[]): void {
    if (trail.includes(path)) {
      found.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
    } else if (!done.has(path)) {
      for (const to of imports(path, files.get(path) ?? "")) if (files.has(to)) visit(to, [...trail, path]);
      done.add(path);
    }
  }
  for (const path of files.keys()) visit(path, []);
  return found;
}

/** Lines `path: complaint` for what `look` finds in each file; it is given the text without comments. */
function each(files: Files, look: (path: string, text: string) => string[]): string[] {
  return Array.from(files).flatMap(([path, text]) => look(path, text).map((complaint) => `${path}: ${complaint}`));
}

function within(path: string, places: readonly string[]): boolean {
  return places.some((place) => place.endsWith("/") ? path.startsWith(place) : path === place);
}

function matches(text: string, pattern: RegExp): string[] {
  return Array.from(text.matchAll(pattern), (match) => match[0].trim());
}

/** What a file imports or re-exports: relative paths resolved from the root, packages as they are named. */
function imports(path: string, text: string): string[] {
  return Array.from(text.matchAll(/(?:\bfrom|\bimport)[\s(]*"([^"\s]+)"/g), ([, name]) => {
    return name.startsWith(".") ? new URL(name, `file:///${path}`).pathname.slice(1) : name;
  });
}

/** The text without its comments; what looks like one inside a string stays. */
function withoutComments(text: string): string {
  const tokens = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[^]|[^`\\])*`)|\/\/[^\n]*|\/\*[^]*?\*\//g;
  return text.replaceAll(tokens, (token, quoted: string | undefined) => quoted ?? token.replaceAll(/[^\n]/g, ""));
}

function sources(): Files {
  const root = new URL("../", import.meta.url);
  const files = new Map<string, string>();
  function walk(folder: string): void {
    for (const entry of Deno.readDirSync(new URL(folder, root))) {
      if (entry.isDirectory) walk(`${folder}${entry.name}/`);
      else if (/\.tsx?$/.test(entry.name)) add(`${folder}${entry.name}`);
    }
  }
  function add(path: string): void {
    files.set(path, withoutComments(Deno.readTextFileSync(new URL(path, root))));
  }
  walk("src/");
  for (const entry of Deno.readDirSync(root)) if (entry.name === "main.ts") add("main.ts");
  return files;
}

const files = sources();
for (const [name, rule] of Object.entries(rules)) {
  Deno.test(`architecture: ${name}`, () => {
    const breaches = rule(files);
    if (breaches.length > 0) assert.fail(`${name}, but\n  ${breaches.join("\n  ")}`);
  });
}

Deno.test("architecture: each rule notices a breach", () => {
  const breaches: Record<keyof typeof rules, [path: string, text: string][]> = {
    "a file imports only from its left": [["src/images/a.ts", 'import { b } from "../weights/b.ts";'], [
      "src/weights/b.ts",
      'export * from "../cli/c.ts";',
    ]],
    "no import goes round in a circle": [["src/a.ts", 'import "./b.ts";'], [
      "src/b.ts",
      'import type { A } from "./a.ts";',
    ]],
    "outside src/engine only its mod.ts is imported": [["src/nets/a.ts", 'import { b } from "../engine/ir/graph.ts";']],
    "only src/engine/gpu names a GPU type": [["src/nets/a.ts", "let device: GPUDevice;"]],
    "only src/routes names Hono": [["src/jobs/a.ts", 'import { Hono } from "hono";']],
    "only main.ts, src/cli and src/engine/debug.ts read arguments or environment": [[
      "src/nets/a.ts",
      'Deno.env.get("X")',
    ]],
    "a file has at most 300 lines (a kernel family 400)": [["src/nets/a.ts", "x\n".repeat(301)]],
    "no index.ts, no utils.ts": [["src/nets/index.ts", ""]],
    "no default exports": [["src/nets/a.ts", "export default 1;"]],
    "no any": [["src/nets/a.ts", "const x: any = 1;"]],
    "classes extend nothing but Error": [["src/nets/a.ts", "class A extends B {}"]],
  };
  for (const [name, rule] of Object.entries(rules)) assert.ok(rule(new Map(breaches[name])).length > 0, name);
});

Deno.test("architecture: comments are no code, and strings no comments", () => {
  assert.equal(withoutComments('a /* GPUDevice */ b // any\nconst x = "/*"; // y'), 'a  b \nconst x = "/*"; ');
});
