/**
 * Everything that is not a success is a problem (RFC 9457): a Fault with its own words, or an unexpected error, of which the outside learns the request's id and the log
 * the rest. No other file makes an answer with a status above 399.
 */
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { z } from "zod";
import { Fault, type FaultCode, FAULTS, type FieldError, type Problem } from "../jobs/job.ts";
import type { Ask, LogRecord } from "./environment.ts";

/** Answers with a fault. Headers that were set before stay. */
export function answerFault(c: Ask, fault: Fault): Response {
  if (fault.retryAfter !== undefined) c.header("Retry-After", String(Math.max(1, Math.ceil(fault.retryAfter))));
  if (fault.code === "unauthorized") c.header("WWW-Authenticate", 'Bearer realm="splice"');
  return answerProblem(c, fault.problem);
}

/** Answers with a problem that is complete, such as a failed job's. */
export function answerProblem(c: Ask, problem: Problem): Response {
  c.header("Content-Type", "application/problem+json");
  c.header("Cache-Control", "no-store");
  return c.body(JSON.stringify(problem), problem.status as ContentfulStatusCode);
}

/** For `app.onError`. */
export function errorHandler(log: (record: LogRecord) => void): (error: Error, c: Ask) => Response {
  return (error, c) => {
    const fault = asFault(error);
    if (fault !== null) return answerFault(c, fault);
    const request = c.get("requestId");
    log({ what: "error", request, error });
    const detail =
      `Cannot answer: something went wrong inside the server. Its log says more under the request id ${request}.`;
    return answerFault(c, new Fault("internal", detail));
  };
}

/** For `app.notFound`. */
export function nothingHere(c: Ask): Response {
  const shown = c.req.path.length > 100 ? `${c.req.path.slice(0, 100)}…` : c.req.path;
  return answerFault(
    c,
    new Fault("not_found", `Cannot find ${shown}: there is nothing here. /docs lists all addresses.`),
  );
}

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

function asFault(error: Error): Fault | null {
  if (error instanceof Fault) return error;
  if (!(error instanceof HTTPException) || error.status >= 500) return null;
  const codes = Object.keys(FAULTS) as FaultCode[];
  const code = codes.find((one) => FAULTS[one].status === error.status) ?? "bad_request";
  return new Fault(code, error.message || FAULTS[code].title, { cause: error });
}
