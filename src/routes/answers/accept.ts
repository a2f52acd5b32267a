/** Which of several representations a client likes best, by its Accept header (RFC 9110, 12.5.1). Knows no media type of its own. */
import { accepts } from "hono/accepts";
import { Fault } from "../../jobs/model/job.ts";
import type { Ask } from "../middleware/environment.ts";

/**
 * The best of `offers` (the server's favourite first) for this request; without a header the first. A type's quality is that of the most exact range that
 * names it.
 * @throws Fault not_acceptable
 */
export function negotiate<T extends string>(c: Ask, offers: readonly [T, ...T[]]): T {
  const best = accepts(c, {
    header: "Accept",
    supports: [...offers],
    default: offers[0],
    match: (ranges, { supports }) => {
      const rated = supports.map((type) => ({ type, quality: qualityOf(type, ranges) }));
      return rated.reduce((best, one) => one.quality > best.quality ? one : best, { type: "", quality: 0 }).type;
    },
  });
  if (best !== "") return best as T;
  throw new Fault(
    "not_acceptable",
    `Cannot answer with ${JSON.stringify(c.req.header("Accept")).slice(0, 100)}: there is ${
      listed(offers)
    }. Ask for one of them in the Accept header.`,
  );
}

function qualityOf(type: string, ranges: readonly { readonly type: string; readonly q: number }[]): number {
  const names = [type, `${type.split("/")[0]}/*`, "*/*"];
  for (const name of names) {
    const range = ranges.find((range) => range.type.toLowerCase() === name);
    if (range !== undefined) return range.q;
  }
  return 0;
}

const listed = (names: readonly string[]) =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
