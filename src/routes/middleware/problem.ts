/**
 * Everything that is not a success is a problem (RFC 9457): a Fault with its own words, or an unexpected error, of which the outside learns the request's id and the log
 * the rest. No other file makes an answer with a status above 399.
 */
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { Fault, type FaultCode, FAULTS, type Problem } from "../../jobs/model/job.ts";
import type { Ask, LogRecord } from "./environment.ts";

/** Seconds after which to try again where nobody knows better. */
const usualWait = 5;

/** Answers with a fault. Headers that were set before stay. */
export function answerFault(c: Ask, fault: Fault): Response {
  const wait = fault.retryAfter ?? (fault.problem.status === 503 ? usualWait : undefined);
  if (wait !== undefined) c.header("Retry-After", String(Math.max(1, Math.ceil(wait))));
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
    const request = c.get("requestId");
    if (fault === null || fault.code === "internal") log({ what: "error", request, error });
    if (fault !== null) return answerFault(c, fault);
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

function asFault(error: Error): Fault | null {
  if (error instanceof Fault) return error;
  if (!(error instanceof HTTPException) || error.status >= 500) return null;
  const codes = Object.keys(FAULTS) as FaultCode[];
  const code = codes.find((one) => FAULTS[one].status === error.status) ?? "bad_request";
  return new Fault(code, error.message || FAULTS[code].title, { cause: error });
}
