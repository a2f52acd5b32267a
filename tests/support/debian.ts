/** Programs that tests start and that Debian has: whether one can be had here, and getting it. */

export function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** The first of these permissions that the tests were not given, in words; null if they have them all. */
export function missingPermission(needed: readonly Deno.PermissionDescriptor[]): string | null {
  const missing = needed.find((one) => Deno.permissions.querySync(one).state !== "granted");
  return missing === undefined ? null : `it would need the permission ${Object.values(missing).join(" ")}`;
}

export const hasApt = (): boolean => Deno.build.os === "linux" && isThere("/usr/bin/apt-get");

/** Runs apt-get after an update of its lists, which may fail: those from before do too. @throws Error with what it said */
export async function apt(args: readonly string[], { cwd }: { readonly cwd?: string } = {}): Promise<void> {
  for (const line of [["update"], args]) {
    const { success, stderr } = await new Deno.Command("apt-get", {
      args: ["-qq", "-o", "DPkg::Lock::Timeout=300", ...line],
      env: { DEBIAN_FRONTEND: "noninteractive" },
      ...(cwd === undefined ? {} : { cwd }),
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!success && line === args) {
      throw new Error(`apt-get ${args.join(" ")} failed: ${new TextDecoder().decode(stderr).trim()}`);
    }
  }
}
