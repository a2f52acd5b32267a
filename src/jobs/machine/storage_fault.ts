/** Errors of a disk that takes nothing more, told from bugs: they are nobody's fault who asks, and pass when an operator makes room. Knows systems' and SQLite's words for it. */
import { Fault } from "../model/job.ts";

const FULL = /\b(ENOSPC|EDQUOT|EFBIG)\b|no space left|disk quota exceeded|disk is full|file too large/i;
const CLOSED = /\b(EROFS|EIO)\b|read-only file system|readonly database|disk I\/O error|input\/output error/i;

/** The Fault that an error (or what caused it) is, if it is one of these; null otherwise. */
export function storageFault(error: unknown): Fault | null {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    const text = `${"code" in cause ? cause.code : ""} ${cause.message}`;
    const why = FULL.test(text)
      ? "the server's disk is full"
      : CLOSED.test(text)
      ? "the server cannot write to its disk"
      : null;
    if (why === null) continue;
    const detail = `Cannot keep this: ${why}. Try again later, or ask its operator to make room`;
    return new Fault("unavailable", detail, { retryAfter: 60, cause: error });
  }
  return null;
}

/** Does `work`, whose errors of that kind are thrown as Faults. */
export async function onDisk<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Fault ? error : storageFault(error) ?? error;
  }
}
