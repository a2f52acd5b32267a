/** The one photograph of the place "Look": where it is dropped, chosen or pasted, the examples, and its caption. */
import { useEffect } from "preact/hooks";
import { announce } from "../state/announce.ts";
import { DropZone, Fault } from "../parts/drop_zone.tsx";
import { type Example, examples } from "../state/examples.ts";
import { formatBytes } from "../state/format.ts";
import { CloseIcon, ReplaceIcon, StructureIcon } from "../parts/icons.tsx";
import { choosePhotograph, fetchPhotograph, photographFault, setPhotograph } from "../state/look_draft.ts";
import { kindNames } from "../../images/kinds.ts";
import { accepted, filesOf, type Picture } from "../state/pictures.ts";
import { RemoteImage } from "../parts/remote_image.tsx";

function take(files: readonly File[]): void {
  if (files.length > 0) choosePhotograph({ blob: files[0], name: files[0].name });
}

/** Takes files that are dropped or pasted anywhere. */
export function useGivenFiles(): void {
  useEffect(() => {
    const over = (event: DragEvent) => event.preventDefault();
    function drop(event: DragEvent): void {
      event.preventDefault();
      take(filesOf(event.dataTransfer));
    }
    const paste = (event: ClipboardEvent) => take(filesOf(event.clipboardData));
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    document.addEventListener("paste", paste);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
      document.removeEventListener("paste", paste);
    };
  }, []);
}

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
  const { credit } = picture;
  return (
    <div class="photograph-below">
      <Fault id="photograph" text={photographFault.value} />
      <footer class="place-foot">
        <p class="place-name">
          <span>{credit?.title ?? picture.name}</span>
          <small>
            {picture.width} × {picture.height} · {formatBytes(picture.blob.size)}
            {credit && ` · ${credit.attribution}, ${credit.licence}`}
          </small>
        </p>
        <label class="button quiet small replace">
          <ReplaceIcon />
          <span class="wide" aria-hidden="true">Replace</span>
          <input
            id="photograph"
            class="drop-input"
            type="file"
            accept={accepted}
            aria-label="Replace the photograph"
            aria-invalid={photographFault.value !== undefined}
            aria-describedby={photographFault.value === undefined ? undefined : "photograph-fault"}
            onChange={(event) => {
              take(Array.from(event.currentTarget.files ?? []));
              event.currentTarget.value = "";
            }}
          />
        </label>
        <button
          class="button quiet small"
          type="button"
          onClick={() => {
            setPhotograph(null);
            requestAnimationFrame(() => document.querySelector<HTMLElement>("#photograph")?.focus());
          }}
        >
          <CloseIcon />
          <span class="wide">Remove</span>
          <span class="unseen">the photograph</span>
        </button>
      </footer>
    </div>
  );
}
