/** WGSL with line numbers, for errors a person can follow. */
export function numberedSource(wgsl: string): string {
  return wgsl.split("\n").map((line, i) => `${String(i + 1).padStart(4)} ${line}`).join("\n");
}
