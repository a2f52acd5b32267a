/** What is wrong with a form as a whole, or has gone wrong with a page. */
import { AlertIcon } from "./icons.tsx";

export function Notice({ text }: { text: string | null | undefined }) {
  if (text === null || text === undefined) return null;
  return (
    <p class="notice bad" role="alert">
      <AlertIcon />
      {text}
    </p>
  );
}
