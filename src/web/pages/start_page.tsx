/** The first view: choose two pictures, choose how far to go, start. */
import { useEffect } from "preact/hooks";
import { complete, faults, loadModels, ready, starting, startJob } from "../state/draft.ts";
import { ExamplePairs } from "./example_pairs.tsx";
import { loadExamples } from "../state/examples.ts";
import { Launch, launcher } from "../parts/launch.tsx";
import { Notice } from "../parts/notice.tsx";
import { OptionPanel, PresetChoice } from "../parts/option_panel.tsx";
import { Pair } from "./pair.tsx";

const submit = launcher({ starting, start: startJob });

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
        <Launch label="Start" starting={starting} look="launch" />
        <Notice text={faults.value.form} />
        <OptionPanel />
      </section>
      {complete.value && <ExamplePairs />}
    </form>
  );
}
