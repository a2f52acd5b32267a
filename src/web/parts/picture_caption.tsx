/** What stands below a picture that was chosen: its name, size and author, and how to replace and to remove it. */
import type { ComponentChildren } from "preact";
import { formatBytes } from "../state/format.ts";
import type { Picture } from "../state/pictures.ts";
import { CloseIcon, ReplaceIcon } from "./icons.tsx";

export interface PictureCaptionProps {
  readonly picture: Picture;
  /** What is removed, for those who cannot see it: `the photograph`. */
  readonly what: string;
  /** The id of the file field that replaces it. */
  readonly field: string;
  readonly onRemove: () => void;
  /** That field, where it stands nowhere else. */
  readonly children?: ComponentChildren;
}

export function PictureCaption({ picture, what, field, onRemove, children }: PictureCaptionProps) {
  const { credit } = picture;
  return (
    <footer class="place-foot">
      <p class="place-name">
        <span>{credit?.title ?? picture.name}</span>
        <small>
          {picture.width} × {picture.height} · {formatBytes(picture.blob.size)}
          {credit && ` · ${credit.attribution}, ${credit.licence}`}
        </small>
      </p>
      <label class="button quiet small replace" for={field}>
        <ReplaceIcon />
        <span class="wide" aria-hidden="true">Replace</span>
        {children}
      </label>
      <button class="button quiet small" type="button" onClick={onRemove}>
        <CloseIcon />
        <span class="wide">Remove</span>
        <span class="unseen">{what}</span>
      </button>
    </footer>
  );
}
