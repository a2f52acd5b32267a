/** The program of the worker that all tabs of a browser share: a hub behind ports. Built into tabs.js; it ends when the last tab does. */
import { openHub, type Wish } from "./tabs_hub.ts";

const hub = openHub((url, init) => fetch(url, { ...init, credentials: "same-origin" }));

addEventListener("connect", (event) => {
  const [port] = (event as MessageEvent).ports;
  const { hear } = hub.connect((told) => port.postMessage(told));
  port.onmessage = ({ data }: MessageEvent<Wish>) => hear(data);
});
