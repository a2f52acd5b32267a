/** Where the page is: every view has its own address, so that it can be reloaded, shared and gone back from. */
import { signal } from "@preact/signals";

export type Place = { readonly view: "start" } | { readonly view: "job"; readonly id: string } | {
  readonly view: "gallery";
} | {
  readonly view: "look";
  /** With its question mark; what it says is in `instruments.ts`. */
  readonly query: string;
};

export const place = signal<Place>(readPlace(location.search));

function readPlace(search: string): Place {
  const query = new URLSearchParams(search);
  const id = query.get("job");
  if (id) return { view: "job", id };
  if (query.has("look")) return { view: "look", query: search };
  return query.has("gallery") ? { view: "gallery" } : { view: "start" };
}

export function addressOf(place: Place): string {
  if (place.view === "job") return `/?job=${encodeURIComponent(place.id)}`;
  if (place.view === "look") return `/${place.query}`;
  return place.view === "gallery" ? "/?gallery" : "/";
}

/** Notes in the address what has changed in this place, without going anywhere. */
export function note(to: Place): void {
  const address = addressOf(to);
  if (address !== location.pathname + location.search) history.replaceState(null, "", address);
}

let unsettled = false;

/** Goes there, as a link would. */
export function go(to: Place): void {
  history.pushState(null, "", addressOf(to));
  arrive();
}

function arrive(): void {
  place.value = readPlace(location.search);
  scrollTo(0, 0);
  unsettled = true;
  requestAnimationFrame(settleFocus);
}

/** After a change of views, moves the focus to the heading of the new one, so that screen readers hear where they are; views whose heading comes late call this. */
export function settleFocus(): void {
  const heading = document.querySelector<HTMLElement>("main h1:not(.unseen)");
  if (!unsettled || !heading) return;
  heading.focus({ preventScroll: true });
  unsettled = false;
}

addEventListener("popstate", arrive);

/** For links to our own places: follows them without a reload, but leaves new tabs and downloads to the browser. */
export function followLink(event: MouseEvent): void {
  const link = (event.target as Element | null)?.closest?.("a");
  if (
    !link || link.origin !== location.origin || link.pathname !== "/" || link.target || link.hasAttribute("download")
  ) return;
  if (
    event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey
  ) return;
  if (link.hash) return;
  event.preventDefault();
  go(readPlace(link.search));
}
