/** A button for what cannot be undone: the first press asks, the second does it. It forgets the first after a while, or when the focus leaves. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

export interface SureButtonProps {
  readonly label: string;
  readonly question: string;
  /** Of what, for those who do not see where the button stands. */
  readonly of: string;
  readonly class: string;
  readonly onSure: () => void;
}

export function SureButton(props: SureButtonProps) {
  const asked = useSignal(false);
  useEffect(() => {
    if (!asked.value) return;
    const timer = setTimeout(() => asked.value = false, 5000);
    return () => clearTimeout(timer);
  }, [asked.value]);
  function press(): void {
    if (asked.value) props.onSure();
    else asked.value = true;
  }
  return (
    <button
      class={props.class}
      type="button"
      data-asked={asked.value}
      onClick={press}
      onBlur={() => asked.value = false}
    >
      {asked.value ? props.question : props.label}
      <span class="unseen">{props.of}</span>
    </button>
  );
}
