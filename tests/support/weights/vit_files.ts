/** Weight files of made-up extractors as they are published: PyTorch's zip and safetensors, under DINO's names and under Hugging Face's. */
import { crc32 } from "node:zlib";
import { randomStream } from "../../../src/engine/mod.ts";
import { encodeSafetensors } from "../../../src/weights/formats/safetensors.ts";
import type { HostTensor, StateDict } from "../../../src/weights/formats/tensor.ts";
import { bytesOf } from "../../fixtures/weights/files.ts";

export interface Sizes {
  readonly dim: number;
  readonly depth: number;
  readonly patch: number;
  readonly native: number;
}

/** Small enough to be quick. */
export const small: Sizes = { dim: 64, depth: 2, patch: 8, native: 32 };

/** An extractor with random weights, in the order of DINO's own files. */
export function madeUpVit({ dim, depth, patch, native }: Sizes, seed = 1): StateDict {
  const random = randomStream(seed);
  const noise = Float32Array.from({ length: 4096 }, () => 0.2 * (random.uniform() - 0.5));
  const tensors = new Map<string, HostTensor>();
  const put = (name: string, ...shape: number[]) => {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let at = 0; at < data.length; at += noise.length) data.set(noise.subarray(0, data.length - at), at);
    data[0] = random.uniform(); // no two tensors alike
    tensors.set(name, { shape, data });
  };
  const affine = (name: string, ...shape: number[]) => {
    put(`${name}.weight`, ...shape);
    put(`${name}.bias`, shape[0]);
  };
  put("cls_token", 1, 1, dim);
  put("pos_embed", 1, 1 + (native / patch) ** 2, dim);
  affine("patch_embed.proj", dim, 3, patch, patch);
  for (let i = 0; i < depth; i++) {
    affine(`blocks.${i}.norm1`, dim);
    affine(`blocks.${i}.attn.qkv`, 3 * dim, dim);
    affine(`blocks.${i}.attn.proj`, dim, dim);
    affine(`blocks.${i}.norm2`, dim);
    affine(`blocks.${i}.mlp.fc1`, 4 * dim, dim);
    affine(`blocks.${i}.mlp.fc2`, dim, 4 * dim);
  }
  affine("norm", dim);
  return tensors;
}

const OUTER: Readonly<Record<string, string>> = {
  cls_token: "embeddings.cls_token",
  pos_embed: "embeddings.position_embeddings",
  "patch_embed.proj": "embeddings.patch_embeddings.projection",
  norm: "layernorm",
};
const INNER: Readonly<Record<string, string>> = {
  norm1: "layernorm_before",
  "attn.proj": "attention.output.dense",
  norm2: "layernorm_after",
  "mlp.fc1": "intermediate.dense",
  "mlp.fc2": "output.dense",
};

/** The same under the names of Hugging Face's ViTModel: query, key and value apart, a pooler that nobody needs. */
export function asHuggingFace(tensors: StateDict): StateDict {
  const renamed = new Map<string, HostTensor>();
  for (const [name, tensor] of tensors) {
    const [, module, part = ""] = /^(.*?)(\.weight|\.bias)?$/.exec(name)!;
    const [, block, inner] = /^blocks\.(\d+)\.(.+)$/.exec(module) ?? [];
    if (block === undefined) renamed.set(OUTER[module] + part, tensor);
    else if (inner !== "attn.qkv") renamed.set(`encoder.layer.${block}.${INNER[inner]}${part}`, tensor);
    else {
      const [rows, ...rest] = tensor.shape;
      const third = tensor.data.length / 3;
      for (const [i, each] of ["query", "key", "value"].entries()) {
        const data = tensor.data.subarray(i * third, (i + 1) * third);
        renamed.set(`encoder.layer.${block}.attention.attention.${each}${part}`, { shape: [rows / 3, ...rest], data });
      }
    }
  }
  const { shape: [, , dim] } = tensors.get("cls_token")!;
  return renamed.set("pooler.dense.bias", { shape: [dim], data: new Float32Array(dim) });
}

export const safetensorsFile = (tensors: StateDict) => encodeSafetensors(tensors, { metadata: { format: "pt" } });

/** What torch.save writes of a state dict: a zip of a pickle and the tensors' storages, stored as they are. */
export function torchFile(tensors: StateDict): Uint8Array {
  const int = (value: number) => bytesOf("J", new Uint8Array(Int32Array.of(value).buffer));
  const text = (value: string) => bytesOf("X", new Uint8Array(Int32Array.of(value.length).buffer), value);
  const pickle = [bytesOf("\x80\x02}(")];
  const entries: [string, Uint8Array][] = [];
  for (const [name, { shape, data }] of tensors) {
    const key = String(entries.length);
    const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
    pickle.push(
      text(name),
      bytesOf(
        "ctorch._utils\n_rebuild_tensor_v2\n((",
        text("storage"),
        "ctorch\nFloatStorage\n",
        text(key),
        text("cpu"),
      ),
      bytesOf(int(data.length), "tQ", int(0), "(", ...shape.map(int), "t(", ...strides.map(int), "t\x89N", "tR"),
    );
    entries.push([`archive/data/${key}`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
  }
  return storedZip([["archive/data.pkl", bytesOf(...pickle, "u.")], ...entries]);
}

/** zip.js makes the same of it, ten times slower. */
function storedZip(entries: readonly [string, Uint8Array][]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, bytes] of entries) {
    const common = new DataView(new ArrayBuffer(26));
    common.setUint16(0, 20, true);
    common.setUint32(10, crc32(bytes), true);
    common.setUint32(14, bytes.length, true);
    common.setUint32(18, bytes.length, true);
    common.setUint16(22, name.length, true);
    const shared = new Uint8Array(common.buffer);
    const offset = new Uint8Array(Uint32Array.of(at).buffer);
    directory.push(bytesOf("PK\x01\x02\x14\0", shared, new Uint8Array(10), offset, name));
    const head = bytesOf("PK\x03\x04", shared, name);
    parts.push(head, bytes);
    at += head.length + bytes.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const counts = new Uint8Array(Uint16Array.of(entries.length, entries.length).buffer);
  const end = bytesOf("PK\x05\x06\0\0\0\0", counts, new Uint8Array(Uint32Array.of(size, at).buffer), "\0\0");
  return joined([...parts, ...directory, end]);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
