/** The bundled photographs, as pairs that one click chooses. Nothing is shown where the server has none. */
import { announce } from "../state/announce.ts";
import { fetchPicture, parts } from "../state/draft.ts";
import { type Example, examples } from "../state/examples.ts";
import { RemoteImage } from "../parts/remote_image.tsx";

interface ExamplePair {
  readonly structure: Example;
  readonly appearance: Example;
}

export function ExamplePairs() {
  const list = examples.value;
  if (list.length < 2) return null;
  const far = list.length > 2 ? 2 : 1;
  const pairs = list.slice(0, 4).map((structure, at) => ({ structure, appearance: list[(at + far) % list.length] }));
  return (
    <section class="pairs" aria-labelledby="pairs-title">
      <h2 id="pairs-title">Or begin with one of these</h2>
      <ul>
        {pairs.map((pair) => (
          <li key={pair.structure.file}>
            <button class="pair-button" type="button" onClick={() => choose(pair)}>
              <span class="pair-halves">
                <RemoteImage url={pair.structure.url} alt="" />
                <RemoteImage url={pair.appearance.url} alt="" />
              </span>
              <span class="pair-names">
                <span class="unseen">Choose the pair</span>
                {pair.structure.title} <i aria-label="with the looks of">→</i> {pair.appearance.title}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Takes the pair, and goes on to what comes next. */
async function choose(pair: ExamplePair): Promise<void> {
  await Promise.all(parts.map((part) => {
    const { url, file, title, attribution, licence } = pair[part];
    return fetchPicture(part, { url, name: file, credit: { title, attribution, licence } });
  }));
  announce(`Chosen: ${pair.structure.title} with the looks of ${pair.appearance.title}.`);
  requestAnimationFrame(() => document.querySelector<HTMLElement>(".launch button")?.focus({ preventScroll: true }));
}
