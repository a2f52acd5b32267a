/** What can be done with a finished job: take the picture, take the generator, go again. */
import { useSignal } from "@preact/signals";
import { explain } from "./api.ts";
import { download, formats } from "./download.ts";
import { DownloadIcon } from "./icons.tsx";
import { isInversion } from "./job_kind.ts";
import { SureButton } from "./sure_button.tsx";
import type { Job } from "../jobs/job.ts";

export function JobDone({ job, onAgain, onRemove }: { job: Job; onAgain: () => void; onRemove: () => void }) {
  const busy = useSignal<string | null>(null);
  const trouble = useSignal<string | null>(null);
  const name = `splice-${job.id.slice(0, 8)}`;

  async function take(url: string | null, what: { accept: string; name: string }): Promise<void> {
    if (url === null || busy.value !== null) return;
    busy.value = what.name;
    trouble.value = null;
    try {
      await download(url, what);
    } catch (error) {
      trouble.value = explain(error).detail;
    } finally {
      busy.value = null;
    }
  }
  const [first, ...others] = formats;
  return (
    <section class="done" aria-label="The result">
      <div class="row">
        <button
          class="button primary"
          type="button"
          onClick={() => take(job.urls.result, { accept: first.type, name: `${name}.${first.extension}` })}
        >
          <DownloadIcon />
          Download picture
        </button>
        {others.map((format) => (
          <button
            key={format.name}
            class="button"
            type="button"
            onClick={() => take(job.urls.result, { accept: format.type, name: `${name}.${format.extension}` })}
          >
            <span class="unseen">Download as</span>
            {format.name}
          </button>
        ))}
      </div>
      {trouble.value !== null && <p class="fault" role="alert">{trouble.value}</p>}
      <div class="row">
        <button class="button" type="button" onClick={onAgain}>Again with other options</button>
        <SureButton class="button quiet" label="Remove" question="Really remove?" of="this job" onSure={onRemove} />
      </div>
      {!isInversion(job) && (
        <p class="aside">
          <button
            class="link"
            type="button"
            onClick={() => take(job.urls.generator, { accept: "*/*", name: `${name}.safetensors` })}
          >
            Download the generator
          </button>{" "}
          to paint pictures elsewhere: <code>splice apply</code> reads it.
        </p>
      )}
    </section>
  );
}
