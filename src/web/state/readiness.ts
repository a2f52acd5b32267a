/** Whether the server could start a job at once: asked now and then, while someone looks. */
import { signal } from "@preact/signals";
import { reachable } from "../talk/api.ts";

export const readiness = signal<"unknown" | "ready" | "warming">("unknown");

async function ask(): Promise<void> {
  if (document.visibilityState !== "visible") return;
  try {
    const response = await fetch("/readyz", { cache: "no-store" });
    await response.body?.cancel();
    reachable.value = true;
    readiness.value = response.ok ? "ready" : "warming";
  } catch {
    reachable.value = false;
  }
}

/** Asks until the returned function is called: often while the answer is not a good one. */
export function watchReadiness(): () => void {
  let timer: ReturnType<typeof setTimeout>;
  let over = false;
  async function round(): Promise<void> {
    await ask();
    if (!over) timer = setTimeout(round, reachable.value && readiness.value === "ready" ? 30_000 : 3000);
  }
  round();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
