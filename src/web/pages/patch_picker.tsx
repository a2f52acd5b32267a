/** A photograph on which one place can be chosen: by a click, by dragging, or with the arrow keys. It knows nothing of what the choice is for. */
import { announce } from "../state/announce.ts";
import { moved, type Point, pointWords, within } from "../state/instruments.ts";

export interface PatchPickerProps {
  readonly src: string;
  /** Width by height. */
  readonly aspect: number;
  readonly point: Point;
  readonly onPoint: (point: Point) => void;
  /** The answer to the chosen place is not here yet: the mark says where it is awaited. */
  readonly pending: boolean;
  readonly describedBy: string;
}

export function PatchPicker({ src, aspect, point, onPoint, pending, describedBy }: PatchPickerProps) {
  function pick(event: PointerEvent & { currentTarget: HTMLElement }): void {
    const { left, top, width, height } = event.currentTarget.getBoundingClientRect();
    onPoint(within({ x: (event.clientX - left) / width, y: (event.clientY - top) / height }));
  }
  function keys(event: KeyboardEvent): void {
    const next = moved(point, { key: event.key, shift: event.shiftKey, aspect });
    if (next === null) return;
    event.preventDefault();
    onPoint(next);
    announce(pointWords(next));
  }
  return (
    <div
      class="stage picker"
      id="picker"
      style={{ "--aspect": String(aspect) }}
      role="application"
      aria-roledescription="place picker"
      tabIndex={0}
      aria-label={`The photograph. Chosen: ${pointWords(point)}`}
      aria-describedby={describedBy}
      onPointerDown={(event) => {
        if (event.button === 0) pick(event);
      }}
      onPointerMove={(event) => {
        if (event.pointerType === "mouse" && event.buttons === 1) pick(event);
      }}
      onKeyDown={keys}
    >
      <img src={src} alt="" draggable={false} />
      <span
        class="picker-mark"
        data-pending={pending}
        style={{ left: `${point.x * 100}%`, top: `${point.y * 100}%` }}
        aria-hidden="true"
      />
    </div>
  );
}
