/** One option of a transfer: its name, its value, a sentence of help, and what is wrong with it. Everything it says comes from the option's description. */
import { choice, faults, models, setChoice, source } from "./draft.ts";
import { Fault } from "./drop_zone.tsx";
import { type OptionDescription, untouched, valueOf } from "./option_list.ts";

function setValue(option: OptionDescription, text: string | null): void {
  const { [option.name]: _, ...others } = choice.value.values;
  const usual = untouched(option, { choice: choice.value, source });
  setChoice({ ...choice.value, values: text === null || text === usual ? others : { ...others, [option.name]: text } });
}

export function OptionField({ option }: { option: OptionDescription }) {
  const id = `option-${option.name}`;
  const fault = faults.value[option.name];
  const changed = choice.value.values[option.name] !== undefined;
  const described = {
    "aria-describedby": fault === undefined ? `${id}-help` : `${id}-help ${id}-fault`,
    "aria-invalid": fault !== undefined,
  };
  return (
    <div class="field" data-kind={option.kind} data-wrong={fault !== undefined}>
      <div class="field-top">
        <label for={id}>{option.label}</label>
        {changed && (
          <button class="field-reset" type="button" onClick={() => setValue(option, null)}>
            Reset<span class="unseen">{option.label}</span>
          </button>
        )}
      </div>
      <Control id={id} option={option} described={described} />
      <Fault id={id} text={fault} />
      <p class="field-help" id={`${id}-help`}>{option.help}</p>
    </div>
  );
}

interface ControlProps {
  readonly id: string;
  readonly option: OptionDescription;
  readonly described: { readonly "aria-describedby": string; readonly "aria-invalid": boolean };
}

function Control({ id, option, described }: ControlProps) {
  const value = valueOf(option, { choice: choice.value, source });
  if (option.kind === "boolean") {
    return (
      <input
        id={id}
        class="switch"
        type="checkbox"
        role="switch"
        checked={value === "true"}
        {...described}
        onChange={(event) => setValue(option, String(event.currentTarget.checked))}
      />
    );
  }
  if (option.kind === "choice") {
    return (
      <Select
        id={id}
        value={value}
        described={described}
        choices={option.choices.map((name) => ({ name, label: name }))}
        onChange={(text) => setValue(option, text)}
      />
    );
  }
  if (option.name === "model" && models.value.length > 0) {
    const choices = models.value.map(({ name, present }) => ({
      name,
      label: present ? name : `${name} (not on this server)`,
      missing: !present,
    }));
    const known = value === "" || choices.some((one) => one.name === value);
    const all = [{ name: "", label: "Best one here" }, ...choices, ...(known ? [] : [{ name: value, label: value }])];
    return (
      <Select
        id={id}
        value={value}
        described={described}
        choices={all}
        onChange={(text) => setValue(option, text)}
      />
    );
  }
  return (
    <input
      id={id}
      type="text"
      inputMode={option.kind === "number" ? "decimal" : "text"}
      autocomplete="off"
      spellcheck={false}
      value={value}
      placeholder={option.fallback === "" ? "automatic" : option.fallback}
      {...described}
      onInput={(event) => setValue(option, event.currentTarget.value)}
      onBlur={(event) => event.currentTarget.value.trim() === "" && setValue(option, null)}
    />
  );
}

interface SelectProps {
  readonly id: string;
  readonly value: string;
  readonly choices: readonly { readonly name: string; readonly label: string; readonly missing?: boolean }[];
  readonly described: ControlProps["described"];
  readonly onChange: (value: string) => void;
}

function Select({ id, value, choices, described, onChange }: SelectProps) {
  return (
    <select id={id} value={value} {...described} onChange={(event) => onChange(event.currentTarget.value)}>
      {choices.map((one) => (
        <option key={one.name} value={one.name} disabled={one.missing ?? false} selected={one.name === value}>
          {one.label}
        </option>
      ))}
    </select>
  );
}
