/**
 * What a vision transformer consists of: its sizes, and its weights as frozen states. They have the published names of DINO and DINOv2, prefixed `vit.`; whatever
 * other programs call them, `weights/` has renamed. No arithmetic here. Invariant: a state's shape follows from the sizes alone.
 */
import { f32, state, type Value } from "../engine/mod.ts";

export interface VitShape {
  readonly dim: number;
  readonly depth: number;
  /** A number that divides `dim`. */
  readonly heads: number;
  /** Side of a patch, in pixels. */
  readonly patch: number;
  /**
   * How patches know where they are. `dino` and `dinov2`: an embedding, moved to another grid by Meta's rule; `dino` moves it for every picture that is not square in
   * pixels, too. `antialias`: the rule of DINOv2 with registers, and of timm. `rotary`: DINOv3's, in every block, without an embedding.
   */
  readonly positions: "dino" | "dinov2" | "antialias" | "rotary";
  /** Patches along a side of the embedding; 0 with rotary positions. */
  readonly grid: number;
  /** Whether the embedding's first row is [CLS]'s. */
  readonly clsPosition: boolean;
  /** Tokens between [CLS] and patches that belong to no place. */
  readonly registers: number;
  /** Width of the MLP between its layers. */
  readonly hidden: number;
  /** SwiGLU instead of GELU. */
  readonly gated: boolean;
  /** Whether attention and MLP are scaled by a factor a channel before they are added. */
  readonly layerScale: boolean;
  /** Of the layer norms. */
  readonly epsilon: number;
  /** Of red, green and blue in [0, 1]: what the network was trained on is (x - mean) / deviation. */
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** The network's weights as graph values. */
export interface Vit {
  readonly shape: VitShape;
  readonly weight: (name: string) => Value;
  /** A table that vit_constants.ts computes. */
  readonly constant: (name: string, sides: readonly number[]) => Value;
}

export function openVit(shape: VitShape): Vit {
  const { dim, patch, grid, hidden, registers } = shape;
  const inBlock: Record<string, number[]> = {
    "norm1.weight": [dim],
    "norm1.bias": [dim],
    "attn.qkv.weight": [3 * dim, dim],
    "attn.qkv.bias": [3 * dim],
    "attn.proj.weight": [dim, dim],
    "attn.proj.bias": [dim],
    "ls1.gamma": [dim],
    "norm2.weight": [dim],
    "norm2.bias": [dim],
    "mlp.fc1.weight": [hidden, dim],
    "mlp.fc1.bias": [hidden],
    "mlp.fc2.weight": [dim, hidden],
    "mlp.fc2.bias": [dim],
    "mlp.w12.weight": [2 * hidden, dim],
    "mlp.w12.bias": [2 * hidden],
    "mlp.w3.weight": [dim, hidden],
    "mlp.w3.bias": [dim],
    "ls2.gamma": [dim],
  };
  const outside: Record<string, number[]> = {
    "cls_token": [1, dim],
    "pos_embed": [(shape.clsPosition ? 1 : 0) + grid * grid, dim],
    "register_tokens": [registers, dim],
    "patch_embed.proj.weight": [dim, 3 * patch * patch],
    "patch_embed.proj.bias": [dim],
  };
  const known = new Map<string, Value>();
  function named(name: string, sides: readonly number[]): Value {
    if (!known.has(name)) known.set(name, state(`vit.${name}`, f32(...sides), { trained: false }));
    return known.get(name)!;
  }
  return {
    shape,
    weight(name) {
      const sides = outside[name] ?? inBlock[name.replace(/^blocks\.\d+\./, "")];
      if (!sides) throw new Error(`Bug: the extractor has no weight ${name}`);
      return named(name, sides);
    },
    constant: named,
  };
}
