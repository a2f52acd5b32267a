/**
 * Reads text/event-stream as the HTML standard describes it, from pieces of text that may break anywhere. Needed beside the browser's EventSource because that one
 * can neither send an API key nor say when it goes on after which event. It does not connect: see `follow.ts`. Invariant: however the text is cut, the items are the same.
 */

/** One thing that a stream says. `id` is the last one seen, null before the first. */
export type SseItem =
  | { readonly kind: "event"; readonly id: string | null; readonly name: string; readonly data: string }
  | { readonly kind: "retry"; readonly milliseconds: number };

export interface SseParser {
  /** Takes the next piece of text; gives what has become complete with it. */
  push(text: string): SseItem[];
}

export function createSseParser(): SseParser {
  let rest = "";
  let first = true;
  let lastId: string | null = null;
  let name = "";
  let data: string[] = [];

  function line(text: string, items: SseItem[]): void {
    if (text === "") {
      // An event without data is none; its id counts all the same.
      if (data.length > 0) items.push({ kind: "event", id: lastId, name: name || "message", data: data.join("\n") });
      name = "";
      data = [];
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return; // a comment: the server's heartbeat
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(text[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
    else if (field === "id" && !value.includes("\0")) lastId = value;
    else if (field === "retry" && /^\d+$/.test(value)) items.push({ kind: "retry", milliseconds: Number(value) });
  }

  function push(text: string): SseItem[] {
    rest += text;
    if (first && rest !== "") {
      first = false;
      if (rest.startsWith("\ufeff")) rest = rest.slice(1);
    }
    const items: SseItem[] = [];
    let start = 0;
    const ends = /\r\n|\r|\n/g;
    for (let end = ends.exec(rest); end; end = ends.exec(rest)) {
      if (end[0] === "\r" && end.index === rest.length - 1) break; // its \n may still come
      line(rest.slice(start, end.index), items);
      start = ends.lastIndex;
    }
    rest = rest.slice(start);
    return items;
  }

  return { push };
}
