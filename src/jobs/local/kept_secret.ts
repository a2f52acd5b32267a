/** What signs webhooks where nobody gave a secret. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";

/** The secret of a data folder that was given none: made once, readable by this user alone. */
export function keptSecret(dataFolder: string): string {
  const path = join(dataFolder, "webhook-secret");
  try {
    const secret = Deno.readTextFileSync(path).trim();
    if (secret !== "") return secret;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const secret = randomBytes(32).toString("hex");
  Deno.writeTextFileSync(`${path}.part`, `${secret}\n`, { mode: 0o600 });
  Deno.renameSync(`${path}.part`, path);
  return secret;
}
