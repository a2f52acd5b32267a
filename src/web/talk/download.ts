/** Saves what an address gives as a file. By fetch, so that an API key can be sent and a picture's format be asked for. */
import { call } from "./api.ts";

export const formats = [
  { name: "PNG", type: "image/png", extension: "png" },
  { name: "JPEG", type: "image/jpeg", extension: "jpg" },
  { name: "WebP", type: "image/webp", extension: "webp" },
] as const;
export type Format = (typeof formats)[number];

/** @throws Refused, TypeError */
export async function download(url: string, { accept, name }: { accept: string; name: string }): Promise<void> {
  const response = await call(url, { headers: { Accept: accept } });
  save(await response.blob(), name);
}

export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(URL.revokeObjectURL, 60_000, link.href);
}
