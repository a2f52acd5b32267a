/** The server's bundled photographs, asked for once. An empty list where there are none, or while they are not yet here. */
import { signal } from "@preact/signals";
import { getJson } from "../talk/api.ts";

export interface Example {
  readonly file: string;
  readonly title: string;
  readonly attribution: string;
  readonly licence: string;
  readonly url: string;
}

export const examples = signal<readonly Example[]>([]);

export async function loadExamples(): Promise<void> {
  if (examples.value.length > 0) return;
  const body = await getJson<{ examples: readonly Example[] }>("/examples").catch(() => null);
  if (body) examples.value = body.examples;
}
