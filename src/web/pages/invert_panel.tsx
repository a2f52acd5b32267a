/** Starts an inversion of the photograph: which feature it keeps, of which layer, and how long it is painted. */
import { Folded } from "../parts/folded.tsx";
import { featureHelp, instrumentWords } from "../state/instruments.ts";
import { Launch, launcher } from "../parts/launch.tsx";
import { inversionForm, starting, startInversion } from "../state/look_draft.ts";
import { Notice } from "../parts/notice.tsx";
import { OptionField, setValue } from "../parts/option_field.tsx";
import { valueOf } from "../state/option_list.ts";

const submit = launcher({ starting, start: startInversion });

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
      <Notice text={faults.form} />
      <Launch label="Invert" starting={starting} look="invert-launch" />
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
