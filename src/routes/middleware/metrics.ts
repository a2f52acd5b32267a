/**
 * What Prometheus is told. Counters follow the service's events and the answered requests; gauges are read when asked for. Labels come from fixed sets (route patterns,
 * never paths), so that no client can make the registry grow.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { JobService } from "../../jobs/model/service.ts";

export interface Metrics {
  /** Text of Prometheus, and its media type. */
  text(): Promise<string>;
  readonly type: string;
  answered(request: { method: string; route: string; status: number; seconds: number }): void;
  /** A stream of events has begun (1) or ended (-1). */
  streams(change: 1 | -1): void;
  close(): void;
}

const methods = new Set(["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"]);

export function openMetrics(service: JobService, version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });

  const requests = new Counter({
    name: "splice_http_requests_total",
    help: "Answered requests",
    labelNames: ["method", "route", "status"],
    registers,
  });
  const requestSeconds = new Histogram({
    name: "splice_http_request_seconds",
    help: "From a request's arrival to its answer (a stream: to its beginning)",
    labelNames: ["method", "route"],
    buckets: [0.002, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600],
    registers,
  });
  const steps = new Counter({ name: "splice_steps_total", help: "Training steps done", registers });
  const stepSeconds = new Histogram({
    name: "splice_step_seconds",
    help: "Wall time of a training step",
    buckets: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
    registers,
  });
  const outcomes = new Counter({
    name: "splice_jobs_total",
    help: "Jobs that have ended",
    labelNames: ["outcome"],
    registers,
  });
  const restarts = new Counter({ name: "splice_worker_restarts_total", help: "Restarted GPU workers", registers });
  const streams = new Gauge({ name: "splice_event_streams_open", help: "Open streams of events", registers });
  const about = new Gauge({ name: "splice_info", help: "The version", labelNames: ["version"], registers });
  about.set({ version }, 1);
  for (const outcome of ["succeeded", "failed", "canceled"]) outcomes.inc({ outcome }, 0);

  gauge("splice_queue_length", "Jobs that wait", () => service.gauges().queued);
  gauge("splice_jobs_running", "Jobs that run", () => service.gauges().running);
  gauge(
    "splice_device_planned_bytes",
    "Device memory that running jobs have planned",
    () => service.gauges().plannedBytes,
  );
  gauge(
    "splice_device_planned_bytes_largest",
    "The most device memory that one job has planned",
    () => service.gauges().plannedByJob,
  );
  gauge("splice_workers", "GPU workers", () => service.health().workers);
  gauge("splice_workers_ready", "GPU workers that have opened their device", () => service.health().ready);
  gauge("process_resident_memory_bytes", "Resident memory of the server's process", () => Deno.memoryUsage().rss);
  gauge("process_uptime_seconds", "Since the server's process began", () => performance.now() / 1000);

  const unsubscribe = service.onCount((event) => {
    switch (event.what) {
      case "steps":
        steps.inc(event.seconds.length);
        for (const seconds of event.seconds) stepSeconds.observe(seconds);
        break;
      case "ended":
        outcomes.inc({ outcome: event.outcome });
        break;
      case "restart":
        restarts.inc();
        break;
      default:
        event satisfies never;
    }
  });

  return {
    text: () => registry.metrics(),
    type: registry.contentType,
    answered({ method, route, status, seconds }) {
      const labels = { method: methods.has(method) ? method : "other", route };
      requests.inc({ ...labels, status: String(status) });
      requestSeconds.observe(labels, seconds);
    },
    streams: (change) => streams.inc(change),
    close: unsubscribe,
  };
}
