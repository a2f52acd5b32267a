/** Asks for an API key, once, when the server wants one. The key stays in this tab. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { keyRequest } from "../talk/api.ts";

export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const text = useSignal("");
  const asked = keyRequest.value;
  useEffect(() => {
    if (asked && !dialog.current?.open) dialog.current?.showModal();
    if (!asked) dialog.current?.close();
  }, [asked]);
  function submit(event: Event): void {
    event.preventDefault();
    const key = text.value.trim();
    if (key === "") return;
    text.value = "";
    asked?.answer(key);
  }
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="key-title" onCancel={() => asked?.answer(null)}>
      <form onSubmit={submit}>
        <h2 id="key-title">API key</h2>
        <p id="key-help">
          {asked?.refused
            ? "The server did not accept that key. Check it and try again."
            : "This server answers only with an API key. It is kept until you close this tab."}
        </p>
        <input
          type="password"
          aria-label="API key"
          aria-describedby="key-help"
          aria-invalid={asked?.refused ?? false}
          autocomplete="off"
          value={text.value}
          onInput={(event) => text.value = event.currentTarget.value}
        />
        <div class="dialog-actions">
          <button class="button" type="button" onClick={() => asked?.answer(null)}>Not now</button>
          <button class="button primary" type="submit">Continue</button>
        </div>
      </form>
    </dialog>
  );
}
