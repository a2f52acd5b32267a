// What vision transformers' tensors are called in the world, and here: DINO's, DINOv2's and DINOv3's own programs, timm, and Hugging Face's transformers, 4 and 5, saved
// and in memory. Here they have DINO's and DINOv2's names, whichever they came with; q, k and v are one tensor, and so are the two halves of a SwiGLU, the gate first.
// No file format and no judgement here: what it does not know it passes on, for vit_family.ts to refuse.

import { unfit } from "./fit.ts";
import { type HostTensor, quote, shapeText, type StateDict } from "./tensor.ts";

/** Names outside the blocks. */
const OUTER: readonly (readonly [RegExp, string])[] = [
  [/^embeddings\.cls_token$/, "cls_token"],
  [/^embeddings\.position_embeddings$/, "pos_embed"],
  [/^(?:embeddings\.register_tokens|storage_tokens|reg_token)$/, "register_tokens"],
  [/^embeddings\.patch_embeddings\.(?:projection\.)?(weight|bias)$/, "patch_embed.proj.$1"],
  [/^layernorm\.(weight|bias)$/, "norm.$1"],
];

/** A block, and the rest of the name. */
const BLOCK = /^(?:encoder\.layer|layers?|blocks)\.(\d+)\.(.+)$/;

/** Names inside a block. Parts that are joined here: q, k, v; gate, up (an MLP without a gate has `up` alone). */
const INNER: readonly (readonly [RegExp, string])[] = [
  [/^(?:norm1|layernorm_before)\.(weight|bias)$/, "norm1.$1"],
  [/^(?:norm2|layernorm_after)\.(weight|bias)$/, "norm2.$1"],
  [/^attn\.qkv\.(weight|bias|bias_mask)$/, "qkv.$1"],
  [/^attention\.attention\.(q)uery\.(weight|bias)$/, "$1.$2"],
  [/^attention\.attention\.(k)ey\.(weight|bias)$/, "$1.$2"],
  [/^attention\.attention\.(v)alue\.(weight|bias)$/, "$1.$2"],
  [/^attention\.([qkv])_proj\.(weight|bias)$/, "$1.$2"],
  [/^attn\.([qkv])_bias$/, "$1.bias"],
  [/^(?:attn\.proj|attention\.output\.dense|attention\.o_proj)\.(weight|bias)$/, "attn.proj.$1"],
  [/^(?:ls|layer_scale)([12])\.(?:gamma|lambda1)$/, "ls$1.gamma"],
  [/^gamma_([12])$/, "ls$1.gamma"],
  [/^mlp\.(?:w12|weights_in)\.(weight|bias)$/, "both.$1"],
  [/^mlp\.(?:w1|gate_proj|fc1_g)\.(weight|bias)$/, "gate.$1"],
  [/^(?:mlp\.(?:w2|fc1_x|up_proj|fc1)|intermediate\.dense)\.(weight|bias)$/, "up.$1"],
  [/^(?:mlp\.(?:w3|weights_out|fc2|down_proj)|output\.dense)\.(weight|bias)$/, "down.$1"],
];

/** The tensors of a block by their parts' names. */
type Parts = Map<string, HostTensor>;

/**
 * The tensors of one network, which networks.ts has told from what lies around it, under DINO's and DINOv2's names. What needs no joining is not copied. Biases that a network does not have are zeros, and
 * where a mask says which of them count it has been applied. Unknown names are kept.
 * @throws WeightsError naming `label` if parts do not fit together, or two tensors get the same name.
 */
export function publishedVit(tensors: StateDict, label: string): StateDict {
  const out = new Map<string, HostTensor>();
  const blocks = new Map<string, Parts>();
  const put = (
    into: Map<string, HostTensor>,
    name: string,
    { shown, tensor }: { shown: string; tensor: HostTensor },
  ) => {
    if (into.has(name)) throw unfit(label, `two of its tensors are both ${quote(shown)}`);
    into.set(name, tensor);
  };
  for (const [name, tensor] of tensors) {
    const [, block, rest = ""] = BLOCK.exec(name) ?? [];
    const part = block === undefined ? undefined : translated(rest, INNER);
    if (part === undefined) {
      const outer = translated(name, OUTER) ?? name;
      put(out, outer, { shown: outer, tensor });
      continue;
    }
    const parts = blocks.get(block) ?? new Map<string, HostTensor>();
    blocks.set(block, parts);
    put(parts, part, { shown: `blocks.${block}.${part}`, tensor });
  }
  const has = (part: string) => blocks.values().some((parts) => parts.has(part));
  const traits: Traits = {
    unbiased: (["q", "k", "v"] as const).filter((part) => !has(`${part}.bias`) && !has("qkv.bias")),
    // Of the networks without an embedding of positions the k of no one has a bias, whatever stands in its place.
    plainKeys: !out.has("pos_embed"),
  };
  for (const [block, parts] of blocks) {
    for (const [name, tensor] of assembled(parts, { traits, at: `blocks.${block}`, label })) {
      put(out, name, { shown: name, tensor });
    }
  }
  return out;
}

function translated(name: string, table: readonly (readonly [RegExp, string])[]): string | undefined {
  const row = table.find(([pattern]) => pattern.test(name));
  return row && name.replace(...row);
}

interface Traits {
  /** Which of q, k and v have no bias in any block. */
  readonly unbiased: readonly string[];
  readonly plainKeys: boolean;
}

interface Place {
  readonly traits: Traits;
  /** `blocks.0` */
  readonly at: string;
  readonly label: string;
}

/** A block's tensors under our names. */
function assembled(parts: Parts, place: Place): Map<string, HostTensor> {
  const { traits, at, label } = place;
  const out = new Map<string, HostTensor>();
  const take = (part: string) => {
    const tensor = parts.get(part);
    parts.delete(part);
    return tensor;
  };
  const put = (name: string, tensor: HostTensor | undefined) => tensor && out.set(`${at}.${name}`, tensor);
  const join = (name: string, each: readonly (readonly [string, HostTensor | undefined])[]) =>
    each.some(([, tensor]) => tensor) ? joined(each, { name: `${at}.${name}`, label }) : undefined;

  const mask = take("qkv.bias_mask");
  const width = (parts.get("qkv.weight")?.shape[0] ?? 0) / 3 || (parts.get("q.weight")?.shape[0] ?? 0);
  const zeros: HostTensor = { shape: [width], data: new Float32Array(width) };
  const apart = (kind: "weight" | "bias") =>
    (["q", "k", "v"] as const).map((part) => {
      const none = kind === "bias" && traits.unbiased.includes(part) && width > 0;
      return [part, take(`${part}.${kind}`) ?? (none ? zeros : undefined)] as const;
    });
  put("attn.qkv.weight", take("qkv.weight") ?? join("attn.qkv.weight", apart("weight")));
  const bias = take("qkv.bias") ?? join("attn.qkv.bias", apart("bias"));
  put("attn.qkv.bias", bias && (mask || traits.plainKeys) ? maskedBias(bias, mask) : bias);

  const [up, down] = [parts.get("up.weight"), parts.get("down.weight")];
  // timm's SwiGLU has a plain MLP's names: only the shapes tell.
  const packed = up && down && !parts.has("gate.weight") && up.shape[0] === 2 * down.shape[1];
  const gated = packed || parts.has("gate.weight") || parts.has("both.weight");
  for (const kind of ["weight", "bias"] as const) {
    if (gated) {
      const halves = ["gate", "up"].map((part) => [part, packed ? undefined : take(`${part}.${kind}`)] as const);
      const both = packed ? take(`up.${kind}`) : take(`both.${kind}`);
      put(`mlp.w12.${kind}`, both ?? join(`mlp.w12.${kind}`, halves));
    } else put(`mlp.fc1.${kind}`, take(`up.${kind}`));
    put(`mlp.${gated ? "w3" : "fc2"}.${kind}`, take(`down.${kind}`));
  }
  for (const [name, tensor] of parts) put(name, tensor);
  return out;
}

/** The bias of q, k and v where it counts: k's never without a mask, nor where the mask was never initialised and holds no numbers. */
function maskedBias({ shape, data }: HostTensor, mask: HostTensor | undefined): HostTensor {
  const third = data.length / 3;
  const usable = mask?.data.length === data.length && mask.data.every(Number.isFinite);
  const counts = (i: number) => usable ? mask.data[i] : Math.floor(i / third) === 1 ? 0 : 1;
  return { shape, data: data.map((value, i) => value * counts(i)) };
}

/** Parts of one shape, one below the other. */
function joined(
  parts: readonly (readonly [string, HostTensor | undefined])[],
  { name, label }: { readonly name: string; readonly label: string },
): HostTensor {
  const found = parts.map(([part, tensor]) => {
    if (tensor === undefined) throw unfit(label, `the ${part} of ${quote(name)} is missing`);
    return tensor;
  });
  const [{ shape, data: { length } }] = found;
  for (const [i, other] of found.entries()) {
    if (shape.length > 0 && shapeText(other.shape) === shapeText(shape)) continue;
    const [first, second] = [parts[0][0], parts[i][0]];
    throw unfit(
      label,
      `${first} and ${second} of ${quote(name)} have the shapes ${shapeText(shape)} and ${
        shapeText(other.shape)
      }, and equal ones are needed`,
    );
  }
  const data = new Float32Array(found.length * length);
  found.forEach((tensor, i) => data.set(tensor.data, i * length));
  return { shape: [found.length * shape[0], ...shape.slice(1)], data };
}
