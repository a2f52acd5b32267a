/**
 * The contract of everything that keeps jobs: the same tests, through the ports of src/jobs/model/ports.ts alone, over every backend, so that none can drift. What a backend
 * promises beyond it is tested beside the backend.
 *
 * Not in it: the exact limit of the queue and the seconds that a full one asks for, which a cluster's node counts by what it has heard; in which order jobs come that were given back, but before all that never ran; how many events a job keeps; what several
 * processes on the same jobs do to each other, which is in machines.ts, for not every backend takes several.
 */
import type { Open } from "./bench.ts";
import { deliveries } from "./deliveries.ts";
import { events } from "./events.ts";
import { files } from "./files.ts";
import { jobs } from "./jobs.ts";
import { leases } from "./leases.ts";
import { retention } from "./retention.ts";

/** Registers the tests of a backend. */
export function contract(name: string, open: Open): void {
  for (const subject of [jobs, events, leases, files, retention, deliveries]) subject(name, open);
}
