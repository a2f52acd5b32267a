/** Replaces ops that are written in terms of others by what they are written as, until none is left. */
import { type Graph, type Pass, rebuild, valuesOf, withInputs } from "../ir/graph.ts";
import type { Profile } from "../ir/program.ts";

const composite = (graph: Graph) =>
  valuesOf(graph).some((value) => value.kind === "apply" && value.op.lower.kind === "graph");

/** How an op is written may depend on the adapter, as in how many parts a sum is made. */
export const expandComposites = (profile: Profile): Pass => ({
  name: "expand",
  run(graph) {
    let now = graph;
    while (composite(now)) {
      now = rebuild(
        now,
        (value, inputs) =>
          value.kind === "apply" && value.op.lower.kind === "graph"
            ? value.op.lower.expand(inputs, value.attrs, profile)
            : withInputs(value, inputs),
      );
    }
    return now;
  },
});
