/** Fields and parameters that are wrong, all of them in one Fault. */
import type { z } from "zod";
import { Fault, type FaultCode, type FieldError } from "../../jobs/model/job.ts";

/** For schemas of parameters: throws all that is wrong, by name. */
export function refuseInvalid(
  result: { readonly success: boolean; readonly error?: z.ZodError; readonly data?: unknown },
): void {
  if (result.success || result.error === undefined) return;
  const given = (result.data ?? {}) as Readonly<Record<string, unknown>>;
  const errors = new Map<string, string>();
  for (const { path, message } of result.error.issues) {
    const field = String(path[0] ?? "");
    const value = given[field] ?? given[field.toLowerCase()];
    const shown = value === undefined ? field : `${field} = ${JSON.stringify(value).slice(0, 60)}`;
    if (!errors.has(field)) errors.set(field, `Cannot use ${shown}: ${message}`);
  }
  throw invalid(Array.from(errors, ([field, message]) => ({ field, message })));
}

/** All that is wrong with the fields of one request. */
export function invalid(errors: readonly FieldError[], code: FaultCode = "invalid_options"): Fault {
  return new Fault(code, errors.map(({ message }) => message).join(". "), { errors });
}
