/** What is said about a job in each phase. Pure text from a state. */
import type { Job } from "../../jobs/model/job.ts";
import { isInversion, optionOf } from "./job_kind.ts";
import { formatDuration, formatPace, ordinal } from "./format.ts";
import { type JobState, phaseOf } from "./job_state.ts";

export function headingOf(state: JobState): string {
  const { job } = state;
  switch (phaseOf(state)) {
    case "queued":
      return job.position === null || job.position === 1
        ? "Next in the queue"
        : `${ordinal(job.position)} in the queue`;
    case "warming":
      return "Warming up";
    case "running":
      return isInversion(job) ? "Inverting" : "Training";
    case "finishing":
      return "Finishing";
    case "succeeded":
      return "Done";
    case "failed":
      return "Failed";
    case "canceled":
      return "Canceled";
  }
}

export function leadOf(state: JobState): string {
  const { job } = state;
  switch (phaseOf(state)) {
    case "queued":
      return job.attempts > 0 || job.step > 0
        ? "It was interrupted, and goes on from its last checkpoint as soon as a device is free."
        : "It starts by itself when the jobs before it are done. You can close this page.";
    case "warming":
      return job.step > 0
        ? `Going on from step ${job.step}. The first steps prepare the device and take longer.`
        : "The first steps prepare the device and take longer than the others.";
    case "running":
      return `${learning(job)} You can close this page; the job goes on.`;
    case "finishing":
      return "All steps are done. The picture is being brought to its full size.";
    case "succeeded":
      return `${job.steps} steps${took(state)}.`;
    case "failed":
      return job.step > 0 ? `It stopped after step ${job.step} of ${job.steps}.` : "It stopped before the first step.";
    case "canceled":
      return job.step > 0
        ? `It was stopped after step ${job.step} of ${job.steps}.`
        : "It was stopped before it began.";
  }
}

function learning(job: Job): string {
  if (!isInversion(job)) return "The network is learning the pair.";
  return optionOf(job, "prior") === "none"
    ? "Noise is being changed, pixel by pixel, until the extractor sees in it what it saw in the photograph."
    : "The network is painting, out of noise, what the extractor saw in the photograph.";
}

/** How fast, and how long still, as far as that is known. */
export function paceOf(job: Job): string {
  const words = [];
  if (job.steps_per_second !== null) words.push(formatPace(job.steps_per_second));
  if (job.eta_seconds !== null) words.push(`${formatDuration(job.eta_seconds)} left`);
  return words.join(" · ");
}

function took({ job }: JobState): string {
  if (job.started_at === null || job.finished_at === null) return "";
  return ` in ${formatDuration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000)}`;
}
