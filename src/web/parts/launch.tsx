/** Sending a form as a job: its button, what becomes of it, and the way to the job or to what must be put right. */
import type { Signal } from "@preact/signals";
import type { Job } from "../../jobs/model/job.ts";
import { go } from "../location.ts";
import type { Starting } from "../state/option_form.ts";

export function Launch({ label, starting, look }: { label: string; starting: Signal<Starting>; look: string }) {
  return (
    <div class={look}>
      <button class="button primary large" type="submit" aria-disabled={starting.value !== "no"}>
        {starting.value === "no" ? label : "Sending…"}
      </button>
      <p class="launch-hint" role="status">
        {starting.value === "retrying"
          ? "The connection broke; trying again."
          : "You can close the page meanwhile. The job goes on."}
      </p>
    </div>
  );
}

/** A form's answer to being sent: `start` makes the job, or null where something must be put right. Nothing is sent twice. */
export function launcher({ starting, start }: { starting: Signal<Starting>; start: () => Promise<Job | null> }) {
  return async (event: Event): Promise<void> => {
    event.preventDefault();
    if (starting.value !== "no") return;
    const job = await start();
    if (job) return go({ view: "job", id: job.id });
    // To the first thing to put right, once it is marked and its section open.
    setTimeout(() => document.querySelector<HTMLElement>("[aria-invalid=true]")?.focus(), 50);
  };
}
