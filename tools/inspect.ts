/**
 * Prints a small graph as it was built, after each pass, and as a program.
 *
 *   deno task inspect attention              one of those in tests/support/engine/small_graphs.ts
 *   deno task inspect linear workgroup       for another set of kernels
 */
import { profileNames, promisedProfile } from "../tests/support/engine/profiles.ts";
import { compilationText, smallGraphs } from "../tests/support/engine/small_graphs.ts";

const [name = "", wanted = "subgroup8"] = Deno.args;
const build = smallGraphs[name];
const profile = profileNames.find((other) => other === wanted);
if (!build || !profile) {
  console.error(`deno task inspect <${Object.keys(smallGraphs).join(" | ")}> [${profileNames.join(" | ")}]`);
  Deno.exit(2);
}
console.log(compilationText(name, build(), { profile: promisedProfile(profile) }));
