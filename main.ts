/** Splice: gives one photograph the appearance of another. Commands are in src/cli, the method in src/splice, the engine in src/engine. */
import { main } from "./src/cli/program.ts";

if (import.meta.main) Deno.exit(await main(Deno.args));
