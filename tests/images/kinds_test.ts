/** docs/pictures.md, row by row: each file in tests/fixtures/images/kinds is read as the table says, compared with what Chromium draws of it, or with the picture that it was made from. */
import assert from "node:assert/strict";
import { decodeImage, examineImage } from "../../src/images/decode.ts";
import { ImageError, type Picture } from "../../src/images/picture.ts";
import { noBrowser, withBrowser } from "../support/web/browser.ts";

const folder = new URL("../fixtures/images/kinds/", import.meta.url);
const table = await Deno.readTextFile(new URL("../../docs/pictures.md", import.meta.url));

interface Row {
  readonly file: string;
  readonly outcome: string;
}

const rows: readonly Row[] = Array.from(
  table.matchAll(/^\| `([^`]+)` \| [^|]+ \| ([^|]+) \|$/gm),
  ([, file, outcome]) => ({ file, outcome }),
);

interface Drawn {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] in 0..255. */
  readonly samples: ArrayLike<number>;
}

async function decoded(file: string): Promise<{ picture: Picture; remarks: string[] }> {
  const remarks: string[] = [];
  const bytes = await Deno.readFile(new URL(file, folder));
  const picture = await decodeImage(bytes, { label: file, remark: (text) => remarks.push(text) });
  return { picture, remarks };
}

/** The largest difference in levels: inside, and in the outermost pixels; and the mean one. */
function differences({ width, height, data }: Picture, drawn: Drawn): { inside: number; frame: number; mean: number } {
  assert.deepEqual([width, height], [drawn.width, drawn.height]);
  let [inside, frame, sum] = [0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const outermost = x === 0 || y === 0 || x === width - 1 || y === height - 1;
      for (let c = 0; c < 3; c++) {
        const at = y * width + x;
        const off = Math.abs(255 * data[c * width * height + at] - drawn.samples[3 * at + c]);
        sum += off;
        if (outermost) frame = Math.max(frame, off);
        else inside = Math.max(inside, off);
      }
    }
  }
  return { inside, frame, mean: sum / data.length };
}

function drawnOf({ width, height, data }: Picture): Drawn {
  const plane = width * height;
  return {
    width,
    height,
    samples: Float64Array.from({ length: 3 * plane }, (_, i) => 255 * data[i % 3 * plane + Math.floor(i / 3)]),
  };
}

Deno.test("kinds: the table names every file, and none that is not there", () => {
  const there = Array.from(Deno.readDirSync(folder), ({ name }) => name).toSorted();
  assert.deepEqual(rows.map(({ file }) => file).toSorted(), there);
});

for (const { file, outcome } of rows) {
  const refused = /^refused: (.+)$/.exec(outcome);
  if (refused) {
    Deno.test(`kinds: ${file} is ${outcome}`, async () => {
      await assert.rejects(decoded(file), (error) => {
        assert.ok(error instanceof ImageError && error.code === "unsupported_type", String(error));
        assert.ok(error.message.includes(refused[1]), error.message);
        return true;
      });
    });
    continue;
  }
  Deno.test(`kinds: ${file} is read the same every time, and its size told`, async () => {
    const [one, two] = [await decoded(file), await decoded(file)];
    assert.deepEqual(one.picture.data, two.picture.data);
    assert.equal(one.remarks.length, outcome.includes("with a remark") ? 1 : 0, one.remarks.join());
    const { width, height } = one.picture;
    assert.deepEqual(await examineImage(await Deno.readFile(new URL(file, folder)), { label: file }), {
      width,
      height,
    });
  });
  const original = /(on average )?within (\d+) levels of its original/.exec(outcome);
  if (original) {
    Deno.test(`kinds: ${file} is ${outcome}`, async () => {
      const { picture } = await decoded("plain.png");
      const { inside, frame, mean } = differences((await decoded(file)).picture, drawnOf(picture));
      const off = original[1] ? mean : Math.max(inside, frame);
      assert.ok(off < Number(original[2]) + 0.5, `${off}`);
    });
  }
}

const reason = noBrowser();
if (reason !== null) console.log(`Not compared with Chromium: ${reason}.`);
Deno.test({
  name: "kinds: everything that Chromium shows is read as it shows it",
  ignore: reason !== null,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {} },
      () => new Response("<!doctype html><link rel=icon href=data:,>", { headers: { "Content-Type": "text/html" } }),
    );
    try {
      await withBrowser(async (browser) => {
        const page = await browser.open(`http://127.0.0.1:${server.addr.port}/`);
        for (const { file, outcome } of rows) {
          if (/^(refused|not shown)/.test(outcome)) continue;
          const bytes = await Deno.readFile(new URL(file, folder));
          const drawn = await page.evaluate(draw(bytes.toBase64())) as Drawn;
          const { picture } = await decoded(file);
          if (outcome.startsWith("turned")) {
            assert.deepEqual([picture.width, picture.height], [drawn.height, drawn.width], file);
            continue;
          }
          const [, most = 0] = /within (\d+) levels?/.exec(outcome) ?? [];
          const [, edge = most] = /, (\d+) in the outermost/.exec(outcome) ?? [];
          const { inside, frame } = differences(picture, drawn);
          // Chromium's samples are rounded: exact is what is nearer to them than to the next.
          const near = (level: number | string) => Number(level) === 0 ? 0.999 : Number(level) + 0.01;
          assert.ok(inside < near(most) && frame < near(edge), `${file}: ${inside} inside, ${frame} at the edge`);
        }
      });
    } finally {
      await server.shutdown();
    }
  },
});

/** For the page: what an img shows of the file, on white. */
const draw = (base64: string) =>
  `(async () => {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([Uint8Array.from(atob("${base64}"), (letter) => letter.charCodeAt(0))]));
    await image.decode();
    const canvas = document.createElement("canvas");
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return { width, height, samples: Array.from(data).filter((_, i) => i % 4 !== 3) };
  })()`;
