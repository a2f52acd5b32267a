/** Waiting for a job's end, for those who asked for nothing but the outcome. It costs a listener at the store, however long it takes. */
import { Fault, isFinal, type Job } from "../model/job.ts";
import type { JobStore } from "../model/ports.ts";

/** Resolves when the job has ended. @throws Fault unknown_job if there is none (any more), unavailable when the server stops */
export function whenEnded(
  id: string,
  { store, stopping }: { store: Pick<JobStore, "get" | "onChange">; stopping: AbortSignal },
): Promise<Job> {
  return new Promise((resolve, reject) => {
    const forget = store.onChange(look);
    stopping.addEventListener("abort", interrupted);
    function done(): void {
      forget();
      stopping.removeEventListener("abort", interrupted);
    }
    async function look(changed: string | null): Promise<void> {
      if (changed !== id) return;
      try {
        const job = (await store.get(id))?.job;
        if (job && !isFinal(job.status)) return;
        done();
        if (job) resolve(job);
        else reject(new Fault("unknown_job", "The job was removed while you waited for it"));
      } catch (error) {
        done();
        reject(error);
      }
    }
    function interrupted(): void {
      done();
      const detail = `The server is being restarted, and the job goes on afterwards: look at /v1/jobs/${id}`;
      reject(new Fault("unavailable", detail, { retryAfter: 10 }));
    }
    if (stopping.aborted) interrupted();
    else void look(id);
  });
}
