/** Files that are dropped or pasted anywhere on the page, beside the places that take them for themselves. Whose they are and whether they are any good is not its matter. */
import { useEffect } from "preact/hooks";
import { filesOf } from "../state/pictures.ts";

export interface GivenFilesOptions {
  readonly onFiles: (files: readonly File[]) => void;
  /** Told whether files are being dragged somewhere over the page. */
  readonly onDragging?: (dragging: boolean) => void;
}

/** Listens as long as the view stands, to what it was given first. */
export function useGivenFiles({ onFiles, onDragging = () => {} }: GivenFilesOptions): void {
  useEffect(() => {
    const left = new AbortController();
    const { signal } = left;
    addEventListener("dragover", (event) => {
      event.preventDefault(); // or the browser would open what is dropped
      onDragging(true);
    }, { signal });
    addEventListener("dragleave", (event) => event.relatedTarget === null && onDragging(false), { signal });
    // Seen before the places themselves take it.
    addEventListener("drop", () => onDragging(false), { signal, capture: true });
    addEventListener("drop", (event) => {
      event.preventDefault();
      onFiles(filesOf(event.dataTransfer));
    }, { signal });
    document.addEventListener("paste", (event) => onFiles(filesOf(event.clipboardData)), { signal });
    return () => left.abort();
  }, []);
}
