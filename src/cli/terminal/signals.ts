/**
 * The wish that the program stop: Ctrl-C, SIGTERM, and the closing of its terminal, which sends SIGHUP, often twice. Under nohup that one is ignored; Deno forgets what
 * it inherited of that, so the launcher looks, and says so in SPLICE_NOHUP (a compiled binary, which has no launcher, takes the variable from whoever sets it).
 */
import { EXIT } from "./usage.ts";

const outlivesTerminal = () => Boolean(Deno.env.get("SPLICE_NOHUP"));

/** To be called first: lets the process live on without its terminal where it was started under nohup. */
export function heedNohup(): void {
  if (Deno.build.os !== "windows" && outlivesTerminal()) Deno.addSignalListener("SIGHUP", () => {});
}

/** Calls `stop` at the first wish to stop; a second Ctrl-C or SIGTERM ends the process at once. @returns what ends the listening */
export function onStopSignal(stop: () => void): () => void {
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT", "SIGBREAK"] : ["SIGINT", "SIGTERM"];
  if (Deno.build.os !== "windows" && !outlivesTerminal()) signals.push("SIGHUP");
  let asked = false;
  const heard = signals.map((signal) => {
    const listener = () => {
      if (!asked) stop();
      else if (signal !== "SIGHUP") Deno.exit(EXIT.interrupted);
      asked = true;
    };
    Deno.addSignalListener(signal, listener);
    return { signal, listener };
  });
  return () => heard.forEach(({ signal, listener }) => Deno.removeSignalListener(signal, listener));
}
