/** Buttons that save a picture, one for each format; the first is the usual one. */
import { useSignal } from "@preact/signals";
import { explain } from "../talk/api.ts";
import { type Format, formats } from "../talk/download.ts";
import { DownloadIcon } from "./icons.tsx";

/** One download at a time, and what went wrong with the last one. */
export function useDownloads() {
  const busy = useSignal(false);
  const trouble = useSignal<string | null>(null);
  async function once(take: () => Promise<void>): Promise<void> {
    if (busy.value) return;
    busy.value = true;
    trouble.value = null;
    try {
      await take();
    } catch (error) {
      trouble.value = explain(error).detail;
    } finally {
      busy.value = false;
    }
  }
  return { busy, trouble, once };
}

export function DownloadRow({ enabled, onTake }: { enabled: boolean; onTake: (format: Format) => void }) {
  const [first, ...others] = formats;
  return (
    <div class="row">
      <button class="button primary" type="button" aria-disabled={!enabled} onClick={() => enabled && onTake(first)}>
        <DownloadIcon />
        Download picture
      </button>
      {others.map((format) => (
        <button
          key={format.name}
          class="button"
          type="button"
          aria-disabled={!enabled}
          onClick={() => enabled && onTake(format)}
        >
          <span class="unseen">Download as</span>
          {format.name}
        </button>
      ))}
    </div>
  );
}
