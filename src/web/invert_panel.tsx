/** Starts an inversion of the photograph: which feature it keeps, of which layer, and how long it is painted. */
import { Folded } from "./folded.tsx";
import { AlertIcon } from "./icons.tsx";
import { featureHelp, instrumentWords } from "./instruments.ts";
import { go } from "./location.ts";
import { inversionForm, starting, startInversion } from "./look_draft.ts";
import { OptionField, setValue } from "./option_field.tsx";
import { valueOf } from "./option_list.ts";

const first = ["model", "layer", "steps", "prior", "seed"];

export function InvertPanel() {
  const { options } = inversionForm;
  const faults = inversionForm.faults.value;
  const field = (name: string) => {
    const option = options.find((one) => one.name === name);
    return option && <OptionField key={name} option={option} form={inversionForm} />;
  };
  const rest = options.map(({ name }) => name).filter((name) => !first.includes(name) && name !== "feature");
  return (
    <form class="invert" noValidate onSubmit={submit}>
      <section class="sees">
        <h2>What will happen</h2>
        <p>{instrumentWords.invert.sees} What the feature knows stays; the rest is made up.</p>
      </section>
      <Features />
      {faults.form !== undefined && (
        <p class="notice bad" role="alert">
          <AlertIcon />
          {faults.form}
        </p>
      )}
      <div class="invert-launch">
        <button class="button primary large" type="submit" aria-disabled={starting.value !== "no"}>
          {starting.value === "no" ? "Invert" : "Sending…"}
        </button>
        <p class="launch-hint" role="status">
          {starting.value === "retrying"
            ? "The connection broke; trying again."
            : "You can close the page meanwhile. The job goes on."}
        </p>
      </div>
      <div class="fields narrow">{first.map(field)}</div>
      <Folded title="All options" wrong={rest.some((name) => faults[name] !== undefined)}>{rest.map(field)}</Folded>
    </form>
  );
}

function Features() {
  const option = inversionForm.options.find(({ name }) => name === "feature")!;
  const { source } = inversionForm;
  const chosen = valueOf(option, { choice: inversionForm.choice.value, source });
  const names = option.choices.toSorted((a, b) => Number(b === "keys") - Number(a === "keys"));
  return (
    <fieldset class="presets features">
      <legend>What is kept</legend>
      {names.map((name) => (
        <label key={name} class="preset" data-chosen={chosen === name}>
          <input
            type="radio"
            name="feature"
            value={name}
            checked={chosen === name}
            onChange={() => setValue(inversionForm, option, name)}
          />
          <span class="preset-title">{featureHelp[name]?.title ?? name}</span>
          <span class="preset-help">{featureHelp[name]?.help ?? ""}</span>
        </label>
      ))}
    </fieldset>
  );
}

async function submit(event: Event): Promise<void> {
  event.preventDefault();
  if (starting.value !== "no") return;
  const job = await startInversion();
  if (job) return go({ view: "job", id: job.id });
  // To the first thing to put right, once it is marked and its section open.
  setTimeout(() => document.querySelector<HTMLElement>("[aria-invalid=true]")?.focus(), 50);
}
