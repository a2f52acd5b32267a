/** Listens as the server does and answers everything with "here", until its stdin ends. Prints its port; what happens to the listening goes to stderr. */
import { listen } from "../../../src/cli/runs/listener.ts";

const listener = listen({
  hostname: "127.0.0.1",
  port: 0,
  handler: () => new Response("here"),
  onError: () => new Response("failed", { status: 500 }),
  log: (text) => console.error(text),
});
globalThis.addEventListener("unhandledrejection", (event) => event.preventDefault());
console.log(listener.port);
for await (const _ of Deno.stdin.readable);
await listener.shutdown();
