/** Files that are there whole or not at all: written aside, then renamed, so that neither a reader nor a crash, of the machine either, ever meets half of one. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const aside = `${path}.${crypto.randomUUID()}.part`;
  try {
    {
      using file = await Deno.open(aside, { write: true, createNew: true, mode: 0o600 });
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      await file.sync();
    }
    await Deno.rename(aside, path);
  } catch (error) {
    await Deno.remove(aside).catch(() => {});
    throw error;
  }
}
