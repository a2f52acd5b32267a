/** Presets and options of the draft. The presets are enough for most; the options that matter open below them, and all others below those. */
import { useSignal, useSignalEffect } from "@preact/signals";
import { choice, faults, form, models, options, setChoice, source } from "../state/draft.ts";
import { ChevronIcon } from "./icons.tsx";
import { OptionField } from "./option_field.tsx";
import { prominent, valueOf, weights } from "../state/option_list.ts";

const presetWords: Readonly<Record<string, { title: string; help: string }>> = {
  quick: { title: "Quick", help: "A first look, on any machine." },
  paper: { title: "Paper", help: "The published settings. Best with a graphics card." },
  own: { title: "Own", help: "Your values, from the method’s defaults." },
};

export function PresetChoice() {
  return (
    <fieldset class="presets">
      <legend>How far to go</legend>
      {[...Object.keys(source.presets), "own"].map((name) => <Preset key={name} name={name} />)}
    </fieldset>
  );
}

function Preset({ name }: { name: string }) {
  const preset = name === "own" ? null : name;
  const chosen = choice.value.preset === preset;
  const model = preset === null ? undefined : source.presets[preset].model;
  const missing = models.value.some((one) => one.name === model && !one.present);
  const { title, help } = presetWords[name] ?? { title: name, help: "" };
  return (
    <label class="preset" data-chosen={chosen} data-missing={missing}>
      <input
        type="radio"
        name="preset-choice"
        value={name}
        checked={chosen}
        disabled={missing && !chosen}
        onChange={() => setChoice({ preset, values: {} })}
      />
      <span class="preset-title">{title}</span>
      <span class="preset-help">{missing ? `Needs ${model}, which is not on this server.` : help}</span>
      <span class="preset-values">{valuesOf(preset)}</span>
    </label>
  );
}

/** The values that tell presets apart, in a line; of the chosen one with what was changed. */
function valuesOf(preset: string | null): string {
  const shown = choice.value.preset === preset ? choice.value : { preset, values: {} };
  const value = (name: string) => {
    const option = options.find((one) => one.name === name);
    return option ? valueOf(option, { choice: shown, source }) : "";
  };
  return [
    value("model") || "best model here",
    value("size") ? `${value("size")} px` : "own size",
    value("steps") ? `${value("steps")} steps` : "",
  ].filter(Boolean).join(" · ");
}

export function OptionPanel() {
  const open = useSignal({ main: choice.value.preset === null, all: false });
  // A fault inside must be seen; and those who choose their own values want to see them.
  useSignalEffect(() => {
    const wrong = Object.keys(faults.value);
    const hidden = wrong.some((name) => rest.some((option) => option.name === name));
    const within = hidden || wrong.some((name) => options.some((option) => option.name === name));
    const now = open.peek();
    if ((within && !now.main) || (hidden && !now.all)) {
      open.value = { main: now.main || within, all: now.all || hidden };
    }
  });
  useSignalEffect(() => {
    if (choice.value.preset === null && !open.peek().main) open.value = { ...open.peek(), main: true };
  });
  const named = (names: readonly string[]) => options.filter((option) => names.includes(option.name));
  const rest = options.filter((option) => !prominent.includes(option.name) && !weights.includes(option.name));
  const changes = Object.keys(choice.value.values).length;
  return (
    <details class="options" open={open.value.main} onToggle={(event) => toggle(event, "main")}>
      <summary>
        <ChevronIcon />
        Options
        {changes > 0 && <span class="options-count">{changes} changed</span>}
      </summary>
      <div class="fields">
        {named(prominent).map((option) => <OptionField key={option.name} option={option} form={form} />)}
      </div>
      <fieldset class="fields weights">
        <legend>Weights</legend>
        {named(weights).map((option) => <OptionField key={option.name} option={option} form={form} />)}
      </fieldset>
      <details class="options inner" open={open.value.all} onToggle={(event) => toggle(event, "all")}>
        <summary>
          <ChevronIcon />
          All options
        </summary>
        <div class="fields">{rest.map((option) => <OptionField key={option.name} option={option} form={form} />)}</div>
      </details>
    </details>
  );

  function toggle(
    event: { currentTarget: HTMLDetailsElement; target: EventTarget | null },
    which: "main" | "all",
  ): void {
    if (event.target !== event.currentTarget) return;
    const now = event.currentTarget.open;
    if (open.peek()[which] !== now) open.value = { ...open.peek(), [which]: now };
  }
}
