/**
 * The picture in the middle. Before the first preview the structure picture stands there without its colours, like a print that is about to develop; then come the
 * previews, and in the end the result with the structure picture under a slider.
 */
import { BeforeAfter } from "../parts/before_after.tsx";
import { type JobState, phaseOf } from "../state/job_state.ts";
import { inputsOf, isInversion } from "../state/job_kind.ts";
import { useImage } from "../parts/remote_image.tsx";

export function JobStage({ state }: { state: JobState }) {
  const { urls } = state.job;
  const phase = phaseOf(state);
  const [input] = inputsOf(state.job);
  const structure = useImage(input?.url ?? null);
  const preview = useImage(state.preview?.url ?? null);
  const result = useImage(phase === "succeeded" ? urls.result : null);
  if (result.shown !== null && structure.shown !== null) {
    return (
      <BeforeAfter
        before={structure.shown}
        after={result.shown}
        aspect={structure.aspect}
        names={[input.title, "Result"]}
      />
    );
  }
  const developing = preview.shown === null;
  const shown = preview.shown ?? structure.shown;
  return (
    <figure
      class="stage"
      data-developing={developing}
      data-active={["warming", "running", "finishing"].includes(phase)}
    >
      {shown !== null && (
        <img
          src={shown}
          alt={developing
            ? `The ${isInversion(state.job) ? "photograph" : "structure picture"}, not yet painted`
            : "The newest preview"}
          draggable={false}
        />
      )}
      {!developing && phase !== "succeeded" && (
        <figcaption class="chip">{state.preview?.step ? `Preview, step ${state.preview.step}` : "Preview"}</figcaption>
      )}
    </figure>
  );
}
