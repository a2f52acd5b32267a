/** One job, from the queue to the result: the picture large, what it is made of beside it, and in every state what a person can do next. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { deleteJob, explain } from "../talk/api.ts";
import { ApplyPanel } from "./apply_panel.tsx";
import { prepareAgain } from "../state/draft.ts";
import { prepareInversionAgain } from "../state/look_draft.ts";
import { formatDuration } from "../state/format.ts";
import { featureWords, inputsOf, isInversion, optionOf } from "../state/job_kind.ts";
import { AlertIcon } from "../parts/icons.tsx";
import { JobDone } from "./job_done.tsx";
import { absence, leave, look, session } from "../state/job_session.ts";
import { JobStage } from "./job_stage.tsx";
import { type JobState, phaseOf } from "../state/job_state.ts";
import { go, settleFocus } from "../location.ts";
import { LossChart } from "./loss_chart.tsx";
import { Notice } from "../parts/notice.tsx";
import { RemoteImage } from "../parts/remote_image.tsx";
import { SureButton } from "../parts/sure_button.tsx";
import { headingOf, leadOf, paceOf } from "../state/job_words.ts";

type Fact = readonly [string, string | null];

export function JobPage({ id }: { id: string }) {
  useEffect(() => {
    look(id);
    return leave;
  }, [id]);
  if (absence.value) return <Absent {...absence.value} />;
  const state = session.value;
  if (!state) {
    return (
      <div class="job" data-phase="unknown">
        <h1 class="unseen" tabIndex={-1}>Job</h1>
        <div class="stage" />
      </div>
    );
  }
  return <PresentJob state={state} />;
}

function Absent({ title, detail }: { title: string; detail: string }) {
  useEffect(settleFocus, []);
  return (
    <div class="absent">
      <h1 tabIndex={-1}>{title}</h1>
      <p>{detail}</p>
      <p class="row">
        <a class="button primary" href="/">Begin a new one</a>
        <a class="button" href="/?gallery">See the gallery</a>
      </p>
    </div>
  );
}

function PresentJob({ state }: { state: JobState }) {
  const phase = phaseOf(state);
  const { job } = state;
  const trouble = useSignal<string | null>(null);
  useEffect(settleFocus, []);
  const active = phase === "queued" || phase === "warming" || phase === "running" || phase === "finishing";

  async function cancel(): Promise<void> {
    trouble.value = null;
    try {
      await deleteJob(job.id);
      document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
    } catch (error) {
      trouble.value = explain(error).detail;
    }
  }
  async function remove(): Promise<void> {
    try {
      await deleteJob(job.id);
      go({ view: "gallery" });
    } catch (error) {
      trouble.value = explain(error).detail;
    }
  }

  return (
    <article class="job" data-phase={phase}>
      <header class="job-head">
        <div>
          <h1 tabIndex={-1}>{headingOf(state)}</h1>
          <p class="job-lead">{leadOf(state)}</p>
        </div>
        <div class="row">
          {active && <button class="button" type="button" onClick={cancel}>Cancel</button>}
          {!active && phase !== "succeeded" && (
            <>
              <button class="button primary" type="button" onClick={() => again(state)}>
                {phase === "failed" ? "Change and try again" : "Start again"}
              </button>
              <SureButton class="button" label="Remove" question="Really remove?" of="this job" onSure={remove} />
            </>
          )}
        </div>
      </header>
      {job.error && (
        <p class="notice bad" role="alert">
          <AlertIcon />
          <span>
            <b>{job.error.title}.</b> {job.error.detail}
          </span>
        </p>
      )}
      <Notice text={trouble.value} />
      <div class="job-grid">
        <div class="job-main">
          <div class="mat">
            <JobStage state={state} />
          </div>
          {phase !== "succeeded" && <Progress state={state} />}
        </div>
        <aside class="job-side" aria-label="Details">
          <Inputs state={state} />
          {phase === "succeeded" && <JobDone job={job} onAgain={() => again(state)} onRemove={remove} />}
          <LossChart history={state.history} steps={job.steps} />
          <Facts state={state} />
        </aside>
        {phase === "succeeded" && !isInversion(job) && <ApplyPanel job={job} />}
      </div>
    </article>
  );
}

async function again(state: JobState): Promise<void> {
  const { job } = state;
  if (isInversion(job)) {
    go({ view: "look", query: "?look=invert" });
    return await prepareInversionAgain(job);
  }
  go({ view: "start" });
  await prepareAgain(job);
}

function Progress({ state }: { state: JobState }) {
  const { job } = state;
  const phase = phaseOf(state);
  const share = job.steps === 0 ? 0 : job.step / job.steps;
  return (
    <div class="progress">
      <div
        class="progress-bar"
        role="progressbar"
        aria-label="Steps done"
        aria-valuemin={0}
        aria-valuemax={job.steps}
        {...(phase === "warming" || phase === "queued" ? {} : { "aria-valuenow": job.step })}
        data-idle={phase === "warming" || phase === "finishing"}
      >
        <span style={{ transform: `scaleX(${share})` }} />
      </div>
      <p class="progress-words">
        <span>
          Step <b>{job.step}</b> of {job.steps}
        </span>
        {phase === "running" && <span>{paceOf(job)}</span>}
        {phase === "finishing" && job.eta_seconds !== null && <span>{formatDuration(job.eta_seconds)} left</span>}
      </p>
    </div>
  );
}

function Inputs({ state }: { state: JobState }) {
  const inputs = inputsOf(state.job);
  return (
    <div class="inputs" data-count={inputs.length}>
      {inputs.map(({ name, title, url }) => (
        <figure key={name}>
          <RemoteImage url={url} alt={name === "image" ? "The photograph" : `The ${name} picture`} />
          <figcaption>{title}</figcaption>
        </figure>
      ))}
    </div>
  );
}

function Facts({ state }: { state: JobState }) {
  const { job } = state;
  const size = optionOf(job, "size");
  const model: Fact = ["Model", state.model ?? optionOf(job, "model")];
  const facts: Fact[] = isInversion(job)
    ? [
      ["Keeps", `${featureWords(optionOf(job, "feature")).toLowerCase()} (${optionOf(job, "feature")})`],
      model,
      ["Layer", optionOf(job, "layer") ?? "last"],
      ["Painted by", optionOf(job, "prior") === "none" ? "each pixel on its own" : "a network"],
    ]
    : [model, ["Trained at", size === null ? "own size" : `${size} px`], ["Detail", optionOf(job, "detail")]];
  facts.push(["Steps", String(job.steps)], ["Seed", optionOf(job, "seed")], ["Device", state.adapter]);
  return (
    <dl class="facts">
      {facts.filter(([, value]) => value !== null).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
