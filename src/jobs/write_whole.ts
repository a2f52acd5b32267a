/** Files that are there whole or not at all: written aside, then renamed, so that neither a reader nor a crash ever meets half of one. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const aside = `${path}.${crypto.randomUUID()}.part`;
  try {
    await Deno.writeFile(aside, bytes);
    await Deno.rename(aside, path);
  } catch (error) {
    await Deno.remove(aside).catch(() => {});
    throw error;
  }
}
