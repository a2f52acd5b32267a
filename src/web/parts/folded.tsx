/** Options that few need, folded away. It opens by itself when something in it is wrong, and closes only when a person closes it. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { ChevronIcon } from "./icons.tsx";

export function Folded({ title, wrong, children }: { title: string; wrong: boolean; children: ComponentChildren }) {
  const open = useSignal(wrong);
  useEffect(() => {
    if (wrong) open.value = true;
  }, [wrong]);
  return (
    <details class="options" open={open.value} onToggle={(event) => open.value = event.currentTarget.open}>
      <summary>
        <ChevronIcon />
        {title}
      </summary>
      <div class="fields narrow">{children}</div>
    </details>
  );
}
