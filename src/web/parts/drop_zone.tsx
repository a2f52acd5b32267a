/** A place for one picture: drop, choose, paste while it has the focus. It shows what it is given and hands on files; whose they are and whether they are any good is not its matter. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { accepted, filesOf } from "../state/pictures.ts";

export interface FileFieldProps {
  readonly id: string;
  /** The name of the file field, for those who cannot see the place. */
  readonly label: string;
  /** What is wrong with what was given. */
  readonly fault: string | undefined;
  readonly onFiles: (files: readonly File[]) => void;
  /** Ids of texts that describe it. */
  readonly describedBy?: string;
}

export interface DropZoneProps extends FileFieldProps {
  readonly children: ComponentChildren;
  readonly filled?: boolean;
}

export function DropZone(props: DropZoneProps) {
  const over = useSignal(false);

  function drop(event: DragEvent): void {
    event.preventDefault();
    event.stopPropagation();
    over.value = false;
    const files = filesOf(event.dataTransfer);
    if (files.length > 0) props.onFiles(files);
  }
  function paste(event: ClipboardEvent): void {
    const files = filesOf(event.clipboardData);
    if (files.length === 0) return;
    event.preventDefault();
    event.stopPropagation();
    props.onFiles(files);
  }

  return (
    <label
      class="drop"
      data-over={over.value}
      data-filled={props.filled ?? false}
      data-wrong={props.fault !== undefined}
      onDragOver={(event) => {
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={() => over.value = false}
      onDrop={drop}
      onPaste={paste}
    >
      <FileField {...props} />
      {props.children}
    </label>
  );
}

/** The file field alone; the label around it is what one sees. */
export function FileField({ id, label, fault, onFiles, describedBy }: FileFieldProps) {
  function choose(event: { currentTarget: HTMLInputElement }): void {
    const files = Array.from(event.currentTarget.files ?? []);
    event.currentTarget.value = ""; // the same file can be chosen again
    if (files.length > 0) onFiles(files);
  }
  return (
    <input
      id={id}
      class="drop-input"
      type="file"
      accept={accepted}
      aria-label={label}
      aria-invalid={fault !== undefined}
      aria-describedby={[describedBy, fault !== undefined && `${id}-fault`].filter(Boolean).join(" ")}
      onChange={choose}
    />
  );
}

/** The words for a fault, where the eye and the screen reader look for them. */
export function Fault({ id, text }: { id: string; text: string | undefined }) {
  if (text === undefined) return null;
  return <p class="fault" id={`${id}-fault`}>{text}</p>;
}
