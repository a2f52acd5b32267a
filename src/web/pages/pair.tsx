/** The two pictures of the draft, side by side, with a button that swaps them. Files that are dropped or pasted beside the two places go to the first empty one. */
import { signal } from "@preact/signals";
import { choosePicture, faults, type Part, parts, pictures, removePicture, swapPictures } from "../state/draft.ts";
import { DropZone, Fault } from "../parts/drop_zone.tsx";
import { examples } from "../state/examples.ts";
import { useGivenFiles } from "../parts/given_files.ts";
import { AppearanceIcon, StructureIcon, SwapIcon } from "../parts/icons.tsx";
import { PictureCaption } from "../parts/picture_caption.tsx";
import { kindNames } from "../../images/kinds.ts";
import { RemoteImage } from "../parts/remote_image.tsx";

const words = {
  structure: { title: "Structure", help: "Its shapes and layout stay.", Icon: StructureIcon },
  appearance: { title: "Appearance", help: "Its colours, light and textures are taken.", Icon: AppearanceIcon },
} as const;

/** Files are being dragged somewhere over the page. */
const dragging = signal(false);
const crowded = signal<string | null>(null);

/** Puts files where they are meant: one to the wanted part or the first empty one, two to both. */
async function take(files: readonly File[], wanted?: Part): Promise<void> {
  if (files.length === 0) return;
  const first = wanted ?? (files.length > 1 ? "structure" : parts.find((part) => pictures[part].value === null));
  crowded.value = first === undefined ? "Both places are taken. Drop the picture onto the one it is to replace." : null;
  if (first === undefined) return;
  const second = first === "structure" ? "appearance" : "structure";
  const jobs = [choosePicture(first, { blob: files[0], name: files[0].name })];
  if (files.length > 1) jobs.push(choosePicture(second, { blob: files[1], name: files[1].name }));
  await Promise.all(jobs);
}

export function Pair() {
  useGivenFiles({ onFiles: take, onDragging: (now) => dragging.value = now });
  const filled = parts.some((part) => pictures[part].value !== null);
  return (
    <div class="pair" data-dragging={dragging.value} style={rowStyle()}>
      <Place part="structure" />
      <button class="swap" type="button" onClick={swapPictures} disabled={!filled} title="Swap the two pictures">
        <SwapIcon />
        <span class="unseen">Swap the two pictures</span>
      </button>
      <Place part="appearance" />
      {crowded.value !== null && filled && <p class="fault pair-fault" role="status">{crowded.value}</p>}
    </div>
  );
}

/** Both pictures get one height, and fill the row together: columns as wide as the pictures are, within reason. */
function rowStyle(): Record<string, string> {
  const [left, right] = parts.map((part) => {
    const picture = pictures[part].value;
    return picture ? Math.min(2.4, Math.max(0.6, picture.width / picture.height)) : 1.5;
  });
  return { "--left": String(left), "--right": String(right), "--columns": `${left}fr ${right}fr` };
}

function Place({ part }: { part: Part }) {
  const { title, help, Icon } = words[part];
  const picture = pictures[part].value;
  const fault = faults.value[part];
  function remove(): void {
    removePicture(part);
    document.querySelector<HTMLElement>(`#${part}`)?.focus();
  }
  return (
    <section class="place" data-part={part} aria-labelledby={`${part}-title`}>
      <header class="place-head">
        <h2 id={`${part}-title`}>{title}</h2>
        <p id={`${part}-help`}>{help}</p>
      </header>
      <DropZone
        id={part}
        label={picture ? `Replace the ${part} picture` : `Choose the ${part} picture`}
        describedBy={`${part}-help`}
        fault={fault}
        filled={picture !== null}
        onFiles={(files) => take(files, part)}
      >
        {picture
          ? (
            <img
              class="place-image"
              src={picture.url}
              alt={`The ${part} picture: ${picture.credit?.title ?? picture.name}`}
              draggable={false}
            />
          )
          : (
            <>
              <Ghost part={part} />
              <span class="place-empty">
                <Icon />
                <span class="place-call">Drop a photograph</span>
                <span class="place-hint">or click to choose, or paste</span>
                <span class="place-hint">{kindNames}; what is transparent becomes white</span>
              </span>
            </>
          )}
      </DropZone>
      <div class="place-below">
        <Fault id={part} text={fault} />
        {picture && <PictureCaption picture={picture} what={`the ${part} picture`} field={part} onRemove={remove} />}
      </div>
    </section>
  );
}

/** What the empty place is for, without words: shapes without colours, colours without shapes. */
function Ghost({ part }: { part: Part }) {
  const list = examples.value;
  const example = part === "structure" ? list[0] : list[2] ?? list[1];
  return example ? <RemoteImage class="ghost" url={example.url} alt="" /> : null;
}
