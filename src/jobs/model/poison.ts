/** A poison job: one that brings down whoever works on it. It is told from a job that was unlucky by how often. */
import { Fault } from "./job.ts";

/** A job fails when this many workers have died over it. */
const MOST_DEATHS = 3;

/** What a job fails with over which `deaths` workers have died, the last at `step`; null where it may be tried again. */
export function poisonFault({ deaths, step }: { readonly deaths: number; readonly step: number }): Fault | null {
  if (deaths < MOST_DEATHS) return null;
  const at = step > 0 ? `after step ${step}` : "before its first step";
  return new Fault(
    "crashed",
    `The GPU worker died ${MOST_DEATHS} times over this job, the last time ${at}. Try a smaller size or another model; the server's log has what the workers said`,
  );
}
