/**
 * What `splice doctor` looks at: the program's surroundings one by one, each as `ok`, `note` or `FAIL` with its remedy.
 */
import { listAdapters, openGpu } from "../../engine/mod.ts";
import { megabytes } from "../../splice/transfer/memory.ts";
import { copyAt } from "../../weights/store/record.ts";
import { listModels, sha256OfFile, verifySha256 } from "../../weights/store/store.ts";
import { remedyFor } from "../../weights/store/verify.ts";
import type { ClusterPlace } from "../terminal/cluster_flags.ts";
import { modelStore } from "./surroundings.ts";

type Verdict = "ok" | "note" | "FAIL";

/** What Deno and Vulkan's loader listen to. */
const CHOOSING =
  "another by VK_DRIVER_FILES=MANIFEST.json (one driver alone), DENO_WEBGPU_BACKEND=vulkan or gl; MESA_VK_DEVICE_SELECT=list prints Mesa's devices";
const OPENGL =
  "there is no Vulkan driver that works, so OpenGL computes: several times slower, and a first start compiles for minutes";
/** The least that the quick preset runs in, in bytes. */
const LEAST_MEMORY = 1.5 * 2 ** 30;
/** What a binding should hold: the widest tensor of a 512-pixel picture. */
const GOOD_BINDING = 128 * 2 ** 20;

export interface Examined {
  /** Where models are kept, where it was said. */
  readonly models: string | undefined;
  readonly cluster: ClusterPlace | null;
}

/** Prints what it finds; true if training can work, and a cluster that is asked for too. */
export async function examine(print: (line: string) => void, { models, cluster }: Examined): Promise<boolean> {
  let good = true;
  const say = (verdict: Verdict, what: string, text: string, remedy?: string) => {
    if (verdict === "FAIL") good = false;
    print(`${verdict.padEnd(5)} ${what.padEnd(9)} ${text}${remedy ? `\n                -> ${remedy}` : ""}`);
  };
  say(
    "ok",
    "deno",
    `${Deno.version.deno} (V8 ${Deno.version.v8}) on ${Deno.build.os} ${Deno.build.arch}`,
  );
  await examineGpu(say);
  examineMemory(say);
  await examineModels(say, models);
  if (cluster !== null) await examinePlace(say, cluster);
  print(good ? "Training works here." : "Training cannot work here yet: see FAIL above.");
  return good;
}

type Say = (verdict: Verdict, what: string, text: string, remedy?: string) => void;

async function examinePlace(say: Say, place: ClusterPlace): Promise<void> {
  const { examineCluster } = await import("../../jobs/cluster/examination.ts");
  const { parseAddresses } = await import("../../jobs/cluster/connection.ts");
  const findings = await examineCluster({ ...place, addresses: parseAddresses(place.addresses) });
  for (const { verdict, text, remedy } of findings) {
    say(verdict, "cluster", text, remedy);
  }
}

async function examineGpu(say: Say): Promise<void> {
  try {
    const gpu = await openGpu();
    try {
      const { info, profile, limits, timestamps } = gpu;
      say(
        info.software ? "note" : "ok",
        "adapter",
        info.name,
        info.software
          ? "it computes on the CPU: small pictures only. A graphics card with its Vulkan driver is many times faster"
          : undefined,
      );
      const drivers = vulkanDrivers();
      say(
        "ok",
        "adapters",
        `${(await listAdapters()).join("; ")}; Vulkan drivers: ${drivers.join(", ") || "none found"}`,
      );
      if (Deno.build.os === "linux") say("ok", "choosing", CHOOSING);
      if (info.opengl) {
        say(
          "note",
          "opengl",
          OPENGL,
          "sudo apt-get install mesa-vulkan-drivers libvulkan1, or your graphics card's driver",
        );
      }
      if (info.software && /LLVM 1[0-4]\./.test(info.name)) {
        say(
          "note",
          "driver",
          "an old Mesa",
          "Mesa 25 is several times faster; on Debian 12 it is in bookworm-backports",
        );
      }
      const optional = ["subgroups", "shader-f16", "timestamp-query"].map((feature) =>
        `${feature} ${info.features.includes(feature) ? "yes" : "no"}`
      );
      say(
        "ok",
        "features",
        `${optional.join(", ")}; none is required${timestamps ? "" : " (kernels cannot be timed)"}`,
      );
      const kernels = `${profile.name}${info.subgroup ? `, subgroups of ${info.subgroup} lanes` : ""}`;
      if (profile.name !== "portable") say("ok", "kernels", kernels);
      else {say(
          "note",
          "kernels",
          kernels,
          "they run at a fifth of the speed that Mesa's Vulkan driver with subgroups of 8 lanes gives",
        );}
      const size = `${megabytes(limits.bindingBytes)} a binding, ${megabytes(limits.bufferBytes)} a buffer, ` +
        `${profile.maxStorageBuffers} buffers a kernel, ${profile.maxWorkgroupBytes / 1024} KiB shared by a workgroup`;
      if (limits.bindingBytes < GOOD_BINDING) {
        say("note", "limits", size, "larger pictures will be refused; a newer driver may allow more");
      } else say("ok", "limits", size);
    } finally {
      gpu.close();
    }
  } catch (error) {
    say("FAIL", "adapter", error instanceof Error ? error.message : String(error));
  }
}

/** The manifests of Vulkan drivers, where loaders look for them. */
function vulkanDrivers(): string[] {
  return ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"].flatMap((folder) => {
    try {
      return Array.from(Deno.readDirSync(folder), ({ name }) => `${folder}/${name}`).filter((path) =>
        path.endsWith(".json")
      );
    } catch {
      return []; // there is no such folder
    }
  }).toSorted();
}

function examineMemory(say: Say): void {
  const { total, available } = Deno.systemMemoryInfo();
  const text = `${megabytes(available)} of ${megabytes(total)} free`;
  if (available < LEAST_MEMORY) {
    say("FAIL", "memory", text, `end other programs: ${megabytes(LEAST_MEMORY)} are needed for preset quick`);
  } else say("ok", "memory", text);
}

async function examineModels(say: Say, models: string | undefined): Promise<void> {
  const store = modelStore(models);
  say("ok", "models", `looked for in ${store.folders.join(" and ")}`);
  let present = 0;
  for (const { name, path, entry } of await listModels(store)) {
    if (path === null) {
      const fetched = `splice models pull ${name}${store.named ?? ""}`;
      say("note", "model", `${name} is not here (${entry?.about ?? ""}; ${entry?.megabytes ?? "?"} MB)`, fetched);
      continue;
    }
    try {
      const sum = entry?.sha256 ?? (await copyAt(path, await sha256OfFile(path)))?.sha256;
      if (sum !== undefined) await verifySha256(path, sum);
      present += 1;
      say("ok", "model", `${name}: ${path}${sum === undefined ? "" : ", checksum right"}`);
    } catch (error) {
      say("FAIL", "model", error instanceof Error ? error.message : String(error), remedyFor(name, store));
    }
  }
  if (present === 0) say("FAIL", "model", "no usable model is here", "restore models/ from the repository");
}
