/** What a screen reader is told without having asked: milestones, never every step. */
import { signal } from "@preact/signals";

export const announcement = signal("");

/** Says it once; the same words again are not repeated. */
export function announce(text: string): void {
  announcement.value = text;
}
