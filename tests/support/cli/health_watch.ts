/** Asks a server's /healthz again and again, in a process of its own, until its stdin ends; then prints how many answers came, and the times of the slow ones in ms. */
const [address] = Deno.args;
const times: number[] = [];
let over = false;
const ending = (async () => {
  for await (const _ of Deno.stdin.readable);
  over = true;
})();
while (!over) {
  const began = performance.now();
  const response = await fetch(`${address}/healthz`);
  await response.body?.cancel();
  if (response.status !== 200) throw new Error(`/healthz answered ${response.status}`);
  times.push(performance.now() - began);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
await ending;
times.sort((a, b) => a - b);
const at = (share: number) => Math.round(times[Math.floor(share * (times.length - 1))]);
console.log(`${times.length} answers: half within ${at(0.5)} ms, 99 % within ${at(0.99)} ms, the slowest ${at(1)} ms`);
