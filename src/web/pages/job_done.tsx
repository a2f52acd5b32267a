/** What can be done with a finished job: take the picture, take the generator, go again. */
import type { Job } from "../../jobs/model/job.ts";
import { download } from "../talk/download.ts";
import { DownloadRow, useDownloads } from "../parts/download_row.tsx";
import { isInversion, optionOf } from "../state/job_kind.ts";
import { SureButton } from "../parts/sure_button.tsx";

export function JobDone({ job, onAgain, onRemove }: { job: Job; onAgain: () => void; onRemove: () => void }) {
  const { busy, trouble, once } = useDownloads();
  const detail = optionOf(job, "detail"); // null of a job from before there was a choice
  const enlarged = optionOf(job, "size") !== null && detail !== null && detail !== "none";
  const name = `splice-${job.id.slice(0, 8)}`;
  const take = (url: string | null, { type, extension }: { type: string; extension: string }) =>
    once(async () => {
      if (url !== null) await download(url, { accept: type, name: `${name}.${extension}` });
    });
  return (
    <section class="done" aria-label="The result">
      <DownloadRow enabled={!busy.value} onTake={(format) => take(job.urls.result, format)} />
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
            onClick={() => take(job.urls.generator, { type: "*/*", extension: "safetensors" })}
          >
            Download the generator
          </button>{" "}
          to paint pictures elsewhere: <code>splice apply</code> reads it.
        </p>
      )}
      {enlarged && (
        <p class="aside">
          <button
            class="link"
            type="button"
            onClick={() => take(job.urls.trained, { type: "image/png", extension: "trained.png" })}
          >
            Download it as it was trained
          </button>
          , at most {optionOf(job, "size")} pixels a side.
        </p>
      )}
    </section>
  );
}
