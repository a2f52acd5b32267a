/** The server's jobs, newest first, page by page. It looks again while something is going on. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { announce } from "../state/announce.ts";
import { deleteJob, explain, getJobs } from "../talk/api.ts";
import { formatAgo, formatDuration } from "../state/format.ts";
import { addressAt } from "../state/job_state.ts";
import { inputsOf, kindWords, optionOf } from "../state/job_kind.ts";
import { addressOf } from "../location.ts";
import { Notice } from "../parts/notice.tsx";
import { RemoteImage } from "../parts/remote_image.tsx";
import { SureButton } from "../parts/sure_button.tsx";
import type { Job } from "../../jobs/model/job.ts";

const pageSize = 24;
const isActive = (job: Job) => job.status === "queued" || job.status === "running";

export function GalleryPage() {
  const jobs = useSignal<readonly Job[] | null>(null);
  const next = useSignal<string | null>(null);
  const trouble = useSignal<string | null>(null);

  /** The first page anew; what was loaded below it stays. */
  async function refresh(): Promise<void> {
    try {
      const page = await getJobs(pageSize, null);
      const fresh = new Set(page.jobs.map((job) => job.id));
      const last = page.jobs.at(-1)?.created_at ?? "";
      const below = page.next === null
        ? []
        : (jobs.peek() ?? []).filter((job) => !fresh.has(job.id) && job.created_at < last);
      if (below.length === 0) next.value = page.next;
      jobs.value = [...page.jobs, ...below];
      trouble.value = null;
    } catch (error) {
      trouble.value = explain(error).detail;
    }
  }
  async function more(): Promise<void> {
    try {
      const page = await getJobs(pageSize, next.value);
      const known = new Set(jobs.value?.map((job) => job.id));
      jobs.value = [...(jobs.value ?? []), ...page.jobs.filter((job) => !known.has(job.id))];
      next.value = page.next;
    } catch (error) {
      trouble.value = explain(error).detail;
    }
  }
  async function remove(job: Job): Promise<void> {
    try {
      await deleteJob(job.id);
      if (!isActive(job)) jobs.value = jobs.value?.filter((one) => one.id !== job.id) ?? null;
      announce(isActive(job) ? "Canceled." : "Removed.");
      await refresh();
      document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
    } catch (error) {
      trouble.value = explain(error).detail;
    }
  }

  useEffect(() => {
    refresh();
    const timer = setInterval(() => {
      if (document.visibilityState === "visible" && (jobs.peek()?.some(isActive) || trouble.peek() !== null)) refresh();
    }, 4000);
    return () => clearInterval(timer);
  }, []);

  const list = jobs.value;
  return (
    <div class="gallery">
      <header class="gallery-head">
        <h1 tabIndex={-1}>Gallery</h1>
        <p>What this server has made, and is making.</p>
      </header>
      <Notice text={trouble.value} />
      {list?.length === 0 && (
        <div class="absent">
          <p>Nothing has been made here yet.</p>
          <a class="button primary" href="/">Begin with two pictures</a>
        </div>
      )}
      <ul class="cards">{list?.map((job) => <Card key={job.id} job={job} onRemove={() => remove(job)} />)}</ul>
      {next.value !== null && <button class="button more" type="button" onClick={more}>Show more</button>}
    </div>
  );
}

function Card({ job, onRemove }: { job: Job; onRemove: () => void }) {
  const active = isActive(job);
  const painted = job.urls.preview !== null;
  return (
    <li class="card" data-status={job.status}>
      <a href={addressOf({ view: "job", id: job.id })}>
        <span class="card-picture" data-painted={painted}>
          <RemoteImage url={addressAt(job.urls.preview, job.step) ?? inputsOf(job)[0]?.url ?? null} alt="" />
          {job.status === "running" && (
            <span class="card-bar">
              <span style={{ transform: `scaleX(${job.step / job.steps})` }} />
            </span>
          )}
        </span>
        <span class="card-words">
          <b>{statusWords(job)}</b>
          <small>
            {kindWords(job)}
            {optionOf(job, "preset") && `, ${optionOf(job, "preset")}`} · {job.steps} steps ·{" "}
            {formatAgo(job.created_at, Date.now())}
          </small>
        </span>
      </a>
      {active
        ? (
          <button class="button quiet small" type="button" onClick={onRemove}>
            Cancel<span class="unseen">this job</span>
          </button>
        )
        : (
          <SureButton
            class="button quiet small"
            label="Remove"
            question="Really remove?"
            of="this job"
            onSure={onRemove}
          />
        )}
    </li>
  );
}

function statusWords(job: Job): string {
  switch (job.status) {
    case "queued":
      return job.position === null || job.position === 1 ? "Next in the queue" : `In the queue, place ${job.position}`;
    case "running":
      if (job.eta_seconds === null) return "Warming up";
      return `${Math.floor(job.step / job.steps * 100)} %, ${formatDuration(job.eta_seconds)} left`;
    case "succeeded":
      return "Done";
    case "failed":
      return "Failed";
    case "canceled":
      return `Canceled after ${job.step} steps`;
  }
}
