/**
 * The looks at what an extractor sees in one photograph: their names, their words, what each asks of the server, and how an address says it all. Pure: no DOM, no network.
 */

export const instruments = ["similarity", "pca", "attention", "invert"] as const;
export type Instrument = (typeof instruments)[number];
/** Those that are answered with a picture at once. */
export type Look = Exclude<Instrument, "invert">;

export interface InstrumentWords {
  readonly title: string;
  /** On the card. */
  readonly help: string;
  /** What one sees, once there is something to see. */
  readonly sees: string;
}

export const instrumentWords: Readonly<Record<Instrument, InstrumentWords>> = {
  similarity: {
    title: "Alike",
    help: "What resembles the place you point at.",
    sees:
      "The framed patch is compared with every other one. Yellow is what the extractor takes for the same thing, violet what has nothing to do with it.",
  },
  pca: {
    title: "Parts",
    help: "Like parts get like colours.",
    sees:
      "Each colour is one kind of thing to the extractor. Look for parts that share a colour although they stand apart: two wings, two peaks, all of the sky.",
  },
  attention: {
    title: "Attention",
    help: "Where it looks to sum up the whole.",
    sees:
      "The extractor sums the photograph up in one description. Yellow is where it looks most to write it, each head in its own way.",
  },
  invert: {
    title: "Inversion",
    help: "A new picture, painted from what it saw.",
    sees: "A network paints, out of noise, a picture in which the extractor sees what it saw in this one.",
  },
};

/** What each kept feature brings out. */
export const featureHelp: Readonly<Record<string, { readonly title: string; readonly help: string }>> = {
  keys: { title: "Structure", help: "The keys: its parts and where they are. Shapes stay, colours are free." },
  cls: {
    title: "Appearance",
    help: "The [CLS] token: its looks as a whole. Textures and colours stay, shapes dissolve.",
  },
};

/** A place in a photograph: parts of its width and height, from the upper left corner. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

export const middle: Point = { x: 0.5, y: 0.5 };

/** How far an arrow key goes, as part of the shorter side: about a patch. */
const STEP = 1 / 28;

/** The place a key leads to, null for keys that lead nowhere. `aspect` is width by height; with shift four times as far. */
export function moved(
  { x, y }: Point,
  { key, shift, aspect }: { readonly key: string; readonly shift: boolean; readonly aspect: number },
): Point | null {
  const far = STEP * (shift ? 4 : 1);
  const [across, down] = aspect > 1 ? [far / aspect, far] : [far, far * aspect];
  const way = { ArrowLeft: [-across, 0], ArrowRight: [across, 0], ArrowUp: [0, -down], ArrowDown: [0, down] }[key];
  return way ? within({ x: x + way[0], y: y + way[1] }) : null;
}

/** The nearest place inside the photograph, to a thousandth. */
export function within({ x, y }: Point): Point {
  const clamp = (value: number) => Math.round(Math.min(0.999, Math.max(0, value)) * 1000) / 1000;
  return { x: clamp(x), y: clamp(y) };
}

export function pointWords({ x, y }: Point): string {
  return `${Math.round(x * 100)} percent across, ${Math.round(y * 100)} percent down`;
}

/** What is set on this place of the page, beside the photograph. */
export interface Setting {
  readonly instrument: Instrument;
  /** Options by name, as text; only what differs from the usual. */
  readonly options: Readonly<Record<string, string>>;
  readonly point: Point;
  /** Attention over the photograph. */
  readonly overlay: boolean;
  /** File name of a bundled photograph, null for one's own. */
  readonly example: string | null;
}

/** The form fields of a look. The head counts for attention alone. */
export function fieldsOfLook(look: Look, { options, point, overlay }: Setting): Record<string, string> {
  const { head, ...others } = options;
  if (look === "pca") return others;
  if (look === "similarity") return { ...others, x: String(point.x), y: String(point.y), overlay: "true" };
  return { ...others, ...(head !== undefined && { head }), ...(overlay && { overlay: "true" }) };
}

const linked = ["model", "layer", "head", "vit_side", "vit_longest", "resize"];

/** A setting as a query, for links. */
export function queryOf({ instrument, options, point, overlay, example }: Setting): string {
  const query = new URLSearchParams({ look: instrument });
  if (instrument !== "invert") {
    for (const name of linked) if (options[name] !== undefined) query.set(name, options[name]);
  }
  if (instrument === "similarity") query.set("at", `${point.x},${point.y}`);
  if (instrument === "attention" && !overlay) query.set("overlay", "no");
  if (example !== null) query.set("example", example);
  return `?${query.toString().replaceAll("%2C", ",")}`;
}

/** What a query says; nonsense counts as if it were not there. */
export function settingOf(search: string): Setting {
  const query = new URLSearchParams(search);
  const at = /^([\d.]+),([\d.]+)$/.exec(query.get("at") ?? "");
  const [x, y] = [Number(at?.[1]), Number(at?.[2])];
  return {
    instrument: instruments.find((one) => one === query.get("look")) ?? "similarity",
    options: Object.fromEntries(
      linked.flatMap((name) => query.get(name) ? [[name, query.get(name)!.slice(0, 200)]] : []),
    ),
    point: Number.isFinite(x) && Number.isFinite(y) ? within({ x, y }) : middle,
    overlay: query.get("overlay") !== "no",
    example: query.get("example")?.slice(0, 200) || null,
  };
}
