/** One option of a form: its name, its value, a sentence of help, and what is wrong with it. Everything it says comes from the option's description. */
import { models } from "../state/draft.ts";
import { Fault } from "./drop_zone.tsx";
import type { OptionForm } from "../state/option_form.ts";
import { type OptionDescription, untouched, valueOf } from "../state/option_list.ts";

/** Sets an option of a form; null takes back what was typed. */
export function setValue(form: OptionForm, option: OptionDescription, text: string | null): void {
  const { source } = form;
  const choice = form.choice.value;
  const { [option.name]: _, ...others } = choice.values;
  const usual = untouched(option, { choice, source });
  form.setChoice({ ...choice, values: text === null || text === usual ? others : { ...others, [option.name]: text } });
}

export function OptionField({ option, form }: { option: OptionDescription; form: OptionForm }) {
  const id = `${form.id}-${option.name}`;
  const fault = form.faults.value[option.name];
  const changed = form.choice.value.values[option.name] !== undefined;
  const described = {
    "aria-describedby": fault === undefined ? `${id}-help` : `${id}-help ${id}-fault`,
    "aria-invalid": fault !== undefined,
  };
  return (
    <div class="field" data-kind={option.kind} data-wrong={fault !== undefined}>
      <div class="field-top">
        <label for={id}>{option.label}</label>
        {changed && (
          <button class="field-reset" type="button" onClick={() => setValue(form, option, null)}>
            Reset<span class="unseen">{option.label}</span>
          </button>
        )}
      </div>
      <Control id={id} option={option} form={form} described={described} />
      <Fault id={id} text={fault} />
      <p class="field-help" id={`${id}-help`}>{option.help}</p>
    </div>
  );
}

interface ControlProps {
  readonly id: string;
  readonly option: OptionDescription;
  readonly form: OptionForm;
  readonly described: { readonly "aria-describedby": string; readonly "aria-invalid": boolean };
}

function Control({ id, option, form, described }: ControlProps) {
  const value = valueOf(option, { choice: form.choice.value, source: form.source });
  const change = (text: string | null) => setValue(form, option, text);
  if (option.kind === "boolean") {
    return (
      <input
        id={id}
        class="switch"
        type="checkbox"
        role="switch"
        checked={value === "true"}
        {...described}
        onChange={(event) => change(String(event.currentTarget.checked))}
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
        onChange={change}
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
        onChange={change}
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
      onInput={(event) => change(event.currentTarget.value)}
      onBlur={(event) => event.currentTarget.value.trim() === "" && change(null)}
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
