/** Sets of kernels by name, for adapters that promise no more than WebGPU does: what is made for them is the same on every machine. */
import type { Profile } from "../../../src/engine/mod.ts";

export type ProfileName = Profile["name"];
export const profileNames: readonly ProfileName[] = ["subgroup8", "portable", "workgroup"];

export function promisedProfile(name: ProfileName): Profile {
  return { name, maxStorageBuffers: 8, maxWorkgroupBytes: 16384, maxInvocations: 256, maxBindingBytes: 2 ** 27 };
}
