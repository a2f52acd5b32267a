/**
 * Questions to a child process, in the order in which they came: which wait, which are under way, and what becomes of them when the process dies. It neither starts nor
 * ends processes. Invariant: a death costs at most the one question that was being worked on; those behind it are asked again.
 */
import { Fault } from "../model/job.ts";
import type { Task, ToWorker } from "../model/messages.ts";

export interface CallOptions {
  /** How long the task may be worked on, in ms; what waits does not count. Default: for ever. */
  readonly limit?: number;
  /** How many processes may die over it. Default: 2, for a process may die of something else. */
  readonly lives?: number;
  /** What it is rejected with when it brought processes down, or held one up for too long; `why` is a clause that says so. Default: unavailable. */
  blame?(why: string): Fault;
}

export interface Calls {
  /** Resolves when the task is done. @throws Fault: the process's own, `blame`'s, or unavailable */
  ask(task: Task, options?: CallOptions): Promise<void>;
  answered(call: number): void;
  refused(call: number, fault: Fault): void;
  /** Those that are not answered yet. */
  pending(): number;
  /** A process takes questions. */
  open(): void;
  /** The process is gone. Without `hope` of another that takes questions, all that wait are rejected. */
  died(how: string, options: { hope: boolean }): void;
  /** No further questions will be put; those under way may still be answered. */
  stop(): void;
}

export interface CallsOptions {
  /** Who is asked, for messages. */
  readonly name: string;
  /** How many questions may be under way: more than one saves a process the wait for the next, but a death may be any one's fault. */
  readonly atOnce: number;
  send(message: ToWorker): void;
  /** A task has taken too long: only the end of the process ends it. */
  onLate(task: Task, limit: number): void;
}

interface Call extends Required<CallOptions> {
  readonly task: Task;
  died: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  resolve(): void;
  reject(fault: Fault): void;
}

/** Each that waits has files on the disk and a client who waits. */
const MOST_WAITING = 500;

export function openCalls({ name, atOnce, send, onLate }: CallsOptions): Calls {
  const waiting: Call[] = [];
  const asked = new Map<number, Call>();
  let last = 0;
  let taking = false;
  let stopping = false;

  const unavailable = (detail: string) => new Fault("unavailable", detail, { retryAfter: 5 });

  function pump(): void {
    while (taking && asked.size < atOnce && waiting.length > 0) put(waiting.shift()!);
  }

  function put(call: Call): void {
    const number = ++last;
    asked.set(number, call);
    if (call.limit < Infinity) {
      call.timer = setTimeout(() => {
        taking = false;
        take(number)!.reject(call.blame(`it took more than ${call.limit / 1000} seconds`));
        onLate(call.task, call.limit);
      }, call.limit);
    }
    send({ say: "call", call: number, task: call.task });
  }

  /** The call of this number, which is no longer under way; undefined if it was given up. */
  function take(number: number): Call | undefined {
    const call = asked.get(number);
    clearTimeout(call?.timer);
    asked.delete(number);
    return call;
  }

  function rejectWaiting(detail: string): void {
    for (const { reject } of waiting.splice(0)) reject(unavailable(detail));
  }

  return {
    ask(task, { limit = Infinity, lives = 2, blame } = {}) {
      if (stopping) return Promise.reject(unavailable("The server is being restarted; try again in a moment"));
      if (waiting.length >= MOST_WAITING) {
        return Promise.reject(
          unavailable(`Cannot do this: ${MOST_WAITING} others wait for the ${name}; try again later`),
        );
      }
      return new Promise<void>((resolve, reject) => {
        const usual = (why: string) => unavailable(`Cannot do this: ${why}; try again`);
        waiting.push({ task, limit, lives, blame: blame ?? usual, died: 0, timer: undefined, resolve, reject });
        pump();
      });
    },
    answered(number) {
      take(number)?.resolve();
      pump();
    },
    refused(number, fault) {
      take(number)?.reject(fault);
      pump();
    },
    pending: () => waiting.length + asked.size,
    open() {
      taking = !stopping;
      pump();
    },
    died(how, { hope }) {
      taking = false;
      const [first, ...behind] = [...asked.keys()].map((number) => take(number)!);
      waiting.unshift(...behind);
      if (first) {
        if (++first.died < first.lives && hope) waiting.unshift(first);
        else if (hope) first.reject(first.blame(`the ${name} that worked on it ${how}`));
        else first.reject(unavailable(`Cannot do this: the ${name} ${how}; try again in a moment`));
      }
      if (!hope) rejectWaiting(`Cannot do this: the ${name} does not start; try again later`);
    },
    stop() {
      stopping = true;
      taking = false;
      rejectWaiting("The server is being restarted; try again in a moment");
    },
  };
}
