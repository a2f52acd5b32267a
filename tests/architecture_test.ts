/**
 * The shape of the code, proved on its text: what imports what, who may touch the GPU, the environment and the HTTP library, and how large a file may be. Not a parser:
 * comments are taken out and the rest is matched by patterns, which is enough for formatted code. Each breach is one line that names the file and the rule.
 */
import assert from "node:assert/strict";

/** The rooms of the house, read from the README's table: a row's rooms import from the rows above it, and do not know each other. */
const order: readonly (readonly string[])[] = roomsIn(Deno.readTextFileSync(new URL("../README.md", import.meta.url)));
const mostFiles = 20;
const kernelFamilies = ["src/engine/wgsl/", "src/engine/ops/"];
const readsEnvironment = ["main.ts", "src/cli/", "src/engine/debug.ts"];

/** Path from the root, to its text. */
type Files = ReadonlyMap<string, string>;
type Rule = (files: Files) => string[];

const rules: Readonly<Record<string, Rule>> = {
  "a file imports only from rooms above its own": direction,
  "the README's table names every room, and none that is gone": rooms,
  "what is exported is imported by somebody": faces,
  "a folder holds at most 20 source files": crowds,
  "tests lie in the folder of what they test": mirrors,
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
  "files are found by fileURLToPath, in folders of any name": (files) =>
    Array.from(files).flatMap(([path, text]) =>
      matches(text, /\bimport\.meta\.url\)\.pathname/g).map((found) => `${path}: ${found}`)
    ),
  "no index.ts, no utils.ts": (files) =>
    each(files, (path) => /(^|\/)(index|utils?)\.tsx?$/.test(path) ? ["say what it holds"] : []),
  "no default exports": (files) => each(files, (_, text) => matches(text, /\bexport default\b|\bas default\b/g)),
  "no any": (files) => each(files, (_, text) => matches(text, /(:\s*|\bas |<|\|\s*)any\b(?!\()|\bany\[\]/g)),
  "classes extend nothing but Error": (files) =>
    each(files, (_, text) => matches(text, /\bclass \w+(<[^{]*>)? extends (?!Error\b)\w+/g)),
};

/** First column of the table under the heading, a row each; a room's name ends with a slash, a file that is a room of its own has none. */
function roomsIn(readme: string): string[][] {
  const section = readme.slice(readme.indexOf("## How to read the code"));
  const cells = Array.from(section.matchAll(/^\| (`src\/[^|]*|`main\.ts`) \|/gm), ([, cell]) => cell);
  return cells.map((cell) => Array.from(cell.matchAll(/`([^`]+)`/g), ([, room]) => room));
}

/** The innermost room that a file lies in, and its row; null where it has none. */
function homeOf(path: string): { readonly room: string; readonly row: number } | null {
  const homes = order.flatMap((rooms, row) =>
    rooms.filter((room) => within(path, [room])).map((room) => ({ room, row }))
  );
  return homes.sort((a, b) => b.room.length - a.room.length)[0] ?? null;
}

function direction(files: Files): string[] {
  return each(files, (path, text) => {
    const home = homeOf(path);
    if (home === null) return ["has no room in the README's table"];
    return imports(path, text).filter((to) => files.has(to) || to.startsWith("src/")).flatMap((to) => {
      const theirs = homeOf(to);
      return theirs === null || theirs.room === home.room || theirs.row < home.row ? [] : [`imports ${to}`];
    });
  });
}

function rooms(files: Files): string[] {
  const paths = [...inSources(files).keys()];
  const named = new Set(order.flat());
  const astray = paths.filter((path) => !named.has(path)).map((path) => path.replace(/[^/]*$/, ""));
  return [
    ...[...new Set(astray)].filter((folder) => !named.has(folder)).map((folder) => `${folder}: is not in the table`),
    ...[...named].filter((room) => !paths.some((path) => homeOf(path)?.room === room))
      .map((room) => `${room}: is in the table, but nothing lies there`),
  ];
}

/** A room's face is what others import of it: functions and constants that only their own file uses stay inside. Types may be named by whoever calls. */
function faces(files: Files): string[] {
  const used = new Set<string>();
  for (const [path, text] of files) {
    for (const [, names, from] of text.matchAll(/\{([^{}]*)\}\s*(?:from|= await import\()\s*"(\.[^"]+)"/g)) {
      const [to] = imports(path, `from "${from}"`);
      for (const name of names.split(",")) used.add(`${to} ${name.trim().replace(/^type /, "").split(/ as |:/)[0]}`);
    }
  }
  return each(files, (path, text) =>
    Array.from(
      text.matchAll(/^export (?:async )?(?:function\*?|const|class) (\w+)/gm),
      ([, name]) => name,
    ).filter((name) => !used.has(`${path} ${name}`)).map((name) => `exports ${name}, which nobody imports`));
}

function crowds(files: Files): string[] {
  const counts = new Map<string, number>();
  for (const path of files.keys()) {
    const folder = path.replace(/[^/]*$/, "");
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts].filter(([, count]) => count > mostFiles).map(([folder, count]) =>
    `${folder}: holds ${count} files: nobody sees what belongs together`
  );
}

function mirrors(files: Files): string[] {
  const folders = new Set([...files.keys()].map((path) => path.replace(/[^/]*$/, "")));
  const known = (folder: string) => [...folders].some((other) => other.startsWith(folder));
  return [...files.keys()].filter((path) => path.startsWith("tests/") && path.endsWith("_test.ts")).flatMap((path) => {
    const folder = path.replace(/[^/]*$/, "").slice("tests/".length);
    return folder === "" || known(`src/${folder}`) || known(folder) ? [] : [`${path}: there is no src/${folder}`];
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

/** What is shipped, without its tests and tools. */
function inSources(files: Files): Files {
  return new Map([...files].filter(([path]) => path.startsWith("src/") || path === "main.ts"));
}

/** Lines `path: complaint` for what `look` finds in each source file; it is given the text without comments. */
function each(files: Files, look: (path: string, text: string) => string[]): string[] {
  return Array.from(inSources(files)).flatMap(([path, text]) =>
    look(path, text).map((complaint) => `${path}: ${complaint}`)
  );
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
      if (entry.isDirectory && entry.name !== "dist") walk(`${folder}${entry.name}/`);
      else if (/\.tsx?$/.test(entry.name)) add(`${folder}${entry.name}`);
    }
  }
  function add(path: string): void {
    files.set(path, withoutComments(Deno.readTextFileSync(new URL(path, root))));
  }
  for (const folder of ["src/", "tests/", "tools/"]) walk(folder);
  add("main.ts");
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
    "a file imports only from rooms above its own": [
      ["src/images/a.ts", 'import { b } from "../weights/store/store.ts";'],
      ["src/jobs/local/store.ts", 'export * from "../workers/worker.ts";'],
    ],
    "the README's table names every room, and none that is gone": [["src/jobs/attic/a.ts", ""]],
    "what is exported is imported by somebody": [["src/jobs/a.ts", "export const x = 1;"]],
    "a folder holds at most 20 source files": Array.from({ length: 21 }, (_, i) => [`src/jobs/a${i}.ts`, ""]),
    "tests lie in the folder of what they test": [["tests/attic/a_test.ts", ""]],
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
    "files are found by fileURLToPath, in folders of any name": [[
      "tests/a.ts",
      'new URL("b", import.meta.url)' + ".pathname",
    ]],
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
