/** The one photograph of the place "Look": where it is dropped, chosen or pasted, the examples, and its caption. */
import { announce } from "../state/announce.ts";
import { DropZone, Fault, FileField } from "../parts/drop_zone.tsx";
import { type Example, examples } from "../state/examples.ts";
import { useGivenFiles } from "../parts/given_files.ts";
import { StructureIcon } from "../parts/icons.tsx";
import { choosePhotograph, fetchPhotograph, photographFault, setPhotograph } from "../state/look_draft.ts";
import { PictureCaption } from "../parts/picture_caption.tsx";
import type { Picture } from "../state/pictures.ts";
import { kindNames } from "../../images/kinds.ts";
import { RemoteImage } from "../parts/remote_image.tsx";

function take(files: readonly File[]): void {
  if (files.length > 0) choosePhotograph({ blob: files[0], name: files[0].name });
}

/** Takes files that are dropped or pasted anywhere. */
export const useGivenPhotograph = () => useGivenFiles({ onFiles: take });

export function EmptyPhotograph() {
  const list = examples.value;
  return (
    <>
      <section class="photograph" aria-labelledby="photograph-title">
        <h2 class="unseen" id="photograph-title">Photograph</h2>
        <DropZone id="photograph" label="Choose the photograph" fault={photographFault.value} onFiles={take}>
          <span class="place-empty">
            <StructureIcon />
            <span class="place-call">Drop a photograph</span>
            <span class="place-hint">or click to choose, or paste</span>
            <span class="place-hint">{kindNames}; what is transparent becomes white</span>
          </span>
        </DropZone>
        <Fault id="photograph" text={photographFault.value} />
      </section>
      {list.length > 0 && (
        <section class="pairs" aria-labelledby="examples-title">
          <h2 id="examples-title">Or begin with one of these</h2>
          <ul>
            {list.slice(0, 4).map((example) => (
              <li key={example.file}>
                <button class="pair-button example-button" type="button" onClick={() => choose(example)}>
                  <RemoteImage url={example.url} alt="" />
                  <span class="pair-names">
                    <span class="unseen">Choose the example</span> {example.title}
                  </span>
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

async function choose({ url, file, title, attribution, licence }: Example): Promise<void> {
  await fetchPhotograph({ url, name: file, credit: { title, attribution, licence }, example: file });
  announce(`Chosen: ${title}.`);
  requestAnimationFrame(() =>
    document.querySelector<HTMLElement>(".instruments input:checked")?.focus({ preventScroll: true })
  );
}

export function PhotographCaption({ picture }: { picture: Picture }) {
  const fault = photographFault.value;
  function remove(): void {
    setPhotograph(null);
    requestAnimationFrame(() => document.querySelector<HTMLElement>("#photograph")?.focus());
  }
  return (
    <div class="photograph-below">
      <Fault id="photograph" text={fault} />
      <PictureCaption picture={picture} what="the photograph" field="photograph" onRemove={remove}>
        <FileField id="photograph" label="Replace the photograph" fault={fault} onFiles={take} />
      </PictureCaption>
    </div>
  );
}
