/** Two pictures of the same thing under one slider, which goes by the pointer and by the keys that sliders have. What the pictures are is not its matter. */
import "img-comparison-slider";
import { useSignal } from "@preact/signals";
import type { HTMLAttributes } from "preact";
import { useEffect, useRef } from "preact/hooks";

declare module "preact" {
  namespace JSX {
    interface IntrinsicElements {
      "img-comparison-slider": HTMLAttributes<HTMLElement> & { value?: number };
    }
  }
}

export interface BeforeAfterProps {
  readonly before: string;
  readonly after: string;
  /** Width by height, of both. */
  readonly aspect: number;
  readonly names: readonly [string, string];
}

export function BeforeAfter({ before, after, aspect, names }: BeforeAfterProps) {
  const slider = useRef<HTMLElement & { value: number }>(null);
  const at = useSignal(50);
  useEffect(() => {
    const element = slider.current!;
    const read = () => at.value = Math.round(element.value);
    element.addEventListener("slide", read);
    return () => element.removeEventListener("slide", read);
  }, []);
  function keys(event: KeyboardEvent): void {
    const element = slider.current!;
    const jump = { Home: 0, End: 100, PageUp: element.value + 20, PageDown: element.value - 20 }[event.key];
    if (jump === undefined) return;
    event.preventDefault();
    element.value = Math.min(100, Math.max(0, jump));
    at.value = Math.round(element.value);
  }
  return (
    <figure class="stage comparison" style={{ "--aspect": String(aspect) }}>
      <img-comparison-slider
        ref={slider}
        role="slider"
        tabIndex={0}
        aria-label={`${names[0]} and ${names[1].toLowerCase()}, compared`}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={at.value}
        aria-valuetext={`${at.value} percent ${names[0].toLowerCase()}`}
        onKeyDown={keys}
      >
        <img slot="first" src={before} alt={names[0]} draggable={false} />
        <img slot="second" src={after} alt={names[1]} draggable={false} />
        <span slot="handle" class="handle" aria-hidden="true">
          <svg
            width="24"
            height="24"
            viewBox="0 0 24 24"
            fill="none"
            stroke="currentColor"
            stroke-width="1.75"
            stroke-linecap="round"
            stroke-linejoin="round"
          >
            <path d="m9 7-5 5 5 5M15 7l5 5-5 5" />
          </svg>
        </span>
      </img-comparison-slider>
      <span class="chip" aria-hidden="true" data-gone={at.value < 18}>{names[0]}</span>
      <span class="chip right" aria-hidden="true" data-gone={at.value > 82}>{names[1]}</span>
    </figure>
  );
}
