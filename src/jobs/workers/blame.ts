/**
 * Which problem an error of the lower layers is to the outside. What nobody foresaw is an internal error: its text goes to the log, not to strangers.
 */
import { EngineError } from "../../engine/mod.ts";
import { ImageError } from "../../images/picture.ts";
import { WeightsError } from "../../weights/formats/tensor.ts";
import { Fault, type FieldError } from "../model/job.ts";
import type { FromWorker } from "../model/messages.ts";
import { storageFault } from "../machine/storage_fault.ts";

/** Throws what is wrong with fields, if anything is, all at once. @throws Fault invalid_options */
export function refuse(problems: readonly (FieldError | null)[]): void {
  const errors = problems.filter((problem) => problem !== null);
  if (errors.length === 0) return;
  throw new Fault("invalid_options", errors.map(({ message }) => message).join("; "), { errors });
}

/** The process's device is of no use any more. */
export const isLost = (error: unknown): boolean => error instanceof EngineError && error.kind === "lost";

export function faultOf(
  error: unknown,
  log: (text: string) => void,
): Extract<FromWorker, { say: "failed" }>["fault"] {
  const { code, message, errors } = asFault(error, log);
  return { code, detail: message, errors: [...errors] };
}

/** Any error as a Fault; the unforeseen is logged with its stack. */
export function asFault(error: unknown, log: (text: string) => void): Fault {
  if (error instanceof Fault) return error;
  if (error instanceof ImageError) return new Fault(error.code, error.message, { errors: fieldsOf(error.message) });
  if (error instanceof EngineError) {
    if (error.kind === "memory") return new Fault("memory", error.message, { errors: fieldsOf(error.message) });
    return new Fault("untrainable", error.message, { errors: fieldsOf(error.message) });
  }
  const storage = storageFault(error);
  if (storage) {
    log(error instanceof Error ? error.message : String(error));
    return storage;
  }
  if (error instanceof WeightsError) return new Fault("unknown_model", error.message);
  log(error instanceof Error ? error.stack ?? error.message : String(error));
  if (error instanceof Deno.errors.NotFound) {
    return new Fault("internal", "A file of this job has gone from the server's data folder; start the job again");
  }
  return new Fault("internal", "The server met an error that it did not expect; its log has the details");
}

/** The fields that a message speaks of by name: pictures, and sizes that would fit. */
function fieldsOf(message: string): FieldError[] {
  // Where there is one picture alone, it is `image` to the outside.
  if (message.startsWith("Cannot see the given picture")) return [{ field: "image", message }];
  const fields = ["structure", "appearance", "image", "size", "vit_side"];
  const named = fields.filter((field) =>
    new RegExp(`\\b${field} (\\d+ would fit|:)|^Cannot (use|read) ${field}:|^Cannot see the ${field} picture`).test(
      message,
    )
  );
  return named.map((field) => ({ field, message }));
}
