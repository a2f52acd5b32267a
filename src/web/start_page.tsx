/** The first view: choose two pictures, choose how far to go, start. */
import { useEffect } from "preact/hooks";
import { complete, faults, loadModels, ready, starting, startJob } from "./draft.ts";
import { ExamplePairs } from "./example_pairs.tsx";
import { loadExamples } from "./examples.ts";
import { AlertIcon } from "./icons.tsx";
import { go } from "./location.ts";
import { OptionPanel, PresetChoice } from "./option_panel.tsx";
import { Pair } from "./pair.tsx";

export function StartPage() {
  useEffect(() => {
    loadModels();
    loadExamples();
  }, []);
  useEffect(() => {
    // What comes next should be in view; but a reload shows again what it showed before.
    if (!complete.value || !ready.peek()) return;
    document.querySelector(".launch")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }, [complete.value]);
  return (
    <form class="start" noValidate onSubmit={submit}>
      <div class="start-words">
        <h1 tabIndex={-1}>Give one photograph the looks of another.</h1>
        <p>
          A small network is trained on just these two. It keeps the shapes of the first and paints them with the
          second, part by part: sky as sky, stone as stone.
        </p>
      </div>
      <Pair />
      {!complete.value && <ExamplePairs />}
      <section class="settings" aria-label="Settings">
        <PresetChoice />
        <div class="launch">
          <button class="button primary large" type="submit" aria-disabled={starting.value !== "no"}>
            {starting.value === "no" ? "Start" : "Sending…"}
          </button>
          <p class="launch-hint" role="status">
            {starting.value === "retrying"
              ? "The connection broke; trying again."
              : "You can close the page meanwhile. The job goes on."}
          </p>
        </div>
        {faults.value.form !== undefined && (
          <p class="notice bad" role="alert">
            <AlertIcon />
            {faults.value.form}
          </p>
        )}
        <OptionPanel />
      </section>
      {complete.value && <ExamplePairs />}
    </form>
  );
}

async function submit(event: Event): Promise<void> {
  event.preventDefault();
  if (starting.value !== "no") return;
  const job = await startJob();
  if (job) return go({ view: "job", id: job.id });
  // To the first thing to put right, once it is marked and its section open.
  setTimeout(() => document.querySelector<HTMLElement>("[aria-invalid=true]")?.focus(), 50);
}
