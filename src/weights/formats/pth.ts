// PyTorch checkpoints, `.pth` or `.bin`: a zip of entries, `NAME/data.pkl` (a pickle of the dict) and `NAME/data/0` ... (raw storages). It is not
// torch.load: tensors are read, and whatever else lies beside them is left alone, and nothing is run. Invariant: a float32 tensor that is
// contiguous and stored as it is is a view into the file's bytes, so a checkpoint costs its own size once.

import type { Contents } from "./contents.ts";
import { unpickle } from "./pickle.ts";
import { WeightsError } from "./tensor.ts";
import { torchOptions } from "./torch_objects.ts";
import { torchContents } from "./torch_tensors.ts";
import { listEntries, readEntry, RESAVE } from "./torch_zip.ts";

/**
 * What is in a PyTorch checkpoint; read as float32 (doubles and integers rounded), the dicts around a tensor are part of its name. `label`
 * names the file in errors.
 * @throws WeightsError if the zip is damaged, or the pickle holds no dict with tensors
 */
export function openPth(bytes: Uint8Array, label: string): Contents {
  const entries = listEntries(bytes, label);
  const pickles = [...entries.keys()].filter((name) => /(?:^|\/)data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw new WeightsError(
      `Cannot read ${label} as a PyTorch checkpoint: the zip has ${pickles.length} entries NAME/data.pkl, not one. ${RESAVE}`,
    );
  }
  const folder = pickles[0].slice(0, -"data.pkl".length);
  if (entries.has(`${folder}constants.pkl`)) {
    throw new WeightsError(
      `Cannot read ${label}: it is a TorchScript program, not weights. ` +
        `Open it with PyTorch and save its tensors: torch.save(dict(torch.jit.load("model.pt").state_dict()), "weights.pth").`,
    );
  }
  const read = (name: string) => readEntry(bytes, entries, folder + name, label);
  if (entries.has(`${folder}byteorder`) && new TextDecoder().decode(read("byteorder")) !== "little") {
    throw new WeightsError(`Cannot read ${label}: it was saved on a big-endian machine. ${RESAVE}`);
  }
  const foreign = new Set<string>();
  const root = unpickle(read("data.pkl"), label, torchOptions({ foreign: (name) => foreign.add(name) }));
  return torchContents(root, foreign, { label, size: bytes.length, bytesOf: ({ key }) => read(`data/${key}`) });
}
