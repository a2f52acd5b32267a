/**
 * A form of options: what is chosen, and what is wrong with it. It knows no pictures and no server, and keeps nothing. Invariant: what the server said is wrong goes away when
 * anything changes; what is plainly wrong stays as long as it is.
 */
import { type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { FieldError } from "../../jobs/model/job.ts";
import { type Choice, complaint, describeOptions, type OptionDescription, type OptionSource } from "./option_list.ts";

/** How far a form is on its way to the server. */
export type Starting = "no" | "sending" | "retrying";

export interface OptionForm {
  /** Before the names of its options, in ids. */
  readonly id: string;
  readonly source: OptionSource;
  readonly options: readonly OptionDescription[];
  readonly choice: ReadonlySignal<Choice>;
  /** By name of option; `form` for what belongs to none. */
  readonly faults: ReadonlySignal<Readonly<Record<string, string>>>;
  setChoice(next: Choice): void;
}

/** As who owns it sees it. */
export interface OwnForm extends OptionForm {
  readonly choice: Signal<Choice>;
  readonly faults: Signal<Readonly<Record<string, string>>>;
}

export function openForm(
  source: OptionSource,
  { id, first, onChange }: { id: string; first: Choice; onChange: () => void },
): OwnForm {
  const options = describeOptions(source);
  const choice = signal(first);
  const faults = signal<Readonly<Record<string, string>>>({});

  function setChoice(next: Choice): void {
    choice.value = next;
    faults.value = complaintsOf(options, next);
    onChange();
  }
  return { id, source, options, choice, faults, setChoice };
}

/** What is wrong with the typed values, by name. */
export function complaintsOf(options: readonly OptionDescription[], { values }: Choice): Record<string, string> {
  return Object.fromEntries(options.flatMap((option) => {
    const problem = complaint(option, values[option.name] ?? "");
    return problem === null ? [] : [[option.name, problem]];
  }));
}

/** Errors at the fields they name; if any names no field that is `known`, or none is named, `form` says the whole. */
export function spread(
  errors: readonly FieldError[],
  { known, whole }: { known: readonly string[]; whole: string },
): Record<string, string> {
  const placed = Object.fromEntries(
    errors.filter(({ field }) => known.includes(field)).map(({ field, message }) => [field, message]),
  );
  const all = errors.length > 0 && errors.every(({ field }) => known.includes(field));
  return all ? placed : { ...placed, form: whole };
}

/** An idempotency key. */
export function newKey(): string {
  return crypto.randomUUID?.() ??
    Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
}
