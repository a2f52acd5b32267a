/** The bundled photographs, as pairs that one click chooses. Nothing is shown where the server has none. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { announce } from "./announce.ts";
import { type Example, getList } from "./api.ts";
import { fetchPicture } from "./draft.ts";
import { RemoteImage } from "./remote_image.tsx";

export function ExamplePairs() {
  const examples = useSignal<readonly Example[]>([]);
  useEffect(() => {
    getList<Example>("/examples").then((list) => examples.value = list).catch(() => {
      // No examples: the page does without.
    });
  }, []);
  const list = examples.value;
  if (list.length < 2) return null;
  const pairs = list.slice(0, 4).map((structure, at) => ({ structure, appearance: list[(at + 1) % list.length] }));
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

async function choose(pair: { structure: Example; appearance: Example }): Promise<void> {
  await Promise.all((["structure", "appearance"] as const).map((part) => {
    const { url, file, title, attribution, licence } = pair[part];
    return fetchPicture(part, { url, name: file, credit: { title, attribution, licence } });
  }));
  announce(`Chosen: ${pair.structure.title} with the looks of ${pair.appearance.title}.`);
}
