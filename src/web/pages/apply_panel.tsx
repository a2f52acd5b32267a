/** Paints another picture with a job's generator, and shows it under a slider. What is painted here lives as long as the view; the server keeps none of it. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { announce } from "../state/announce.ts";
import { call, explain } from "../talk/api.ts";
import { save } from "../talk/download.ts";
import { DropZone, Fault } from "../parts/drop_zone.tsx";
import { DownloadIcon } from "../parts/icons.tsx";
import { BeforeAfter } from "../parts/before_after.tsx";
import { openPicture, type Picture, release } from "../state/pictures.ts";
import type { Job } from "../../jobs/model/job.ts";
import { inputsOf, optionOf } from "../state/job_kind.ts";

interface Painted {
  readonly from: Picture;
  readonly blob: Blob;
  readonly url: string;
}

export function ApplyPanel({ job }: { job: Job }) {
  const painted = useSignal<Painted | null>(null);
  const busy = useSignal(false);
  const fault = useSignal<string | undefined>(undefined);
  useEffect(() => () => forget(painted.peek()), []);

  async function paint(given: Blob, name: string, fields: Readonly<Record<string, string>> = {}): Promise<void> {
    if (job.urls.apply === null) return;
    busy.value = true;
    fault.value = undefined;
    let picture: Picture | null = null;
    try {
      picture = await openPicture(given, { name });
      const body = new FormData();
      for (const [field, value] of Object.entries(fields)) body.append(field, value);
      body.append("image", picture.blob, "image");
      const response = await call(job.urls.apply, { method: "POST", body, headers: { Accept: "image/png" } });
      const blob = await response.blob();
      forget(painted.value);
      painted.value = { from: picture, blob, url: URL.createObjectURL(blob) };
      announce("The picture is painted.");
    } catch (error) {
      release(picture);
      fault.value = error instanceof Error && error.name === "Unsuitable" ? error.message : explain(error).detail;
    } finally {
      busy.value = false;
    }
  }

  function take(files: readonly File[]): void {
    if (!busy.value) paint(files[0], files[0].name);
  }
  /** Training may have seen it smaller than it is; what was enlarged after it is here painted by the network. */
  async function paintWhole(): Promise<void> {
    if (busy.value) return;
    busy.value = true;
    try {
      const response = await call(inputsOf(job)[0].url);
      await paint(await response.blob(), "structure", { detail: "generator" });
    } catch (error) {
      fault.value = explain(error).detail;
    } finally {
      busy.value = false;
    }
  }

  const one = painted.value;
  return (
    <section class="apply" aria-labelledby="apply-title">
      <h2 id="apply-title">Paint another picture</h2>
      <DropZone
        id="apply"
        label="Choose a picture to paint with the trained network"
        fault={fault.value}
        onFiles={take}
      >
        <span class="apply-call" data-busy={busy.value}>
          {busy.value ? "Painting…" : "Drop or choose any photograph. The trained network paints it at once."}
        </span>
      </DropZone>
      <Fault id="apply" text={fault.value} />
      {optionOf(job, "size") !== null && (
        <p class="aside">
          Trained at {optionOf(job, "size")}{" "}
          pixels; larger pictures are painted so large, and enlarged with their own edges and textures.{" "}
          <button class="link" type="button" onClick={paintWhole}>
            Have the network paint all of the structure picture
          </button>: sharper, but parts may come out differently.
        </p>
      )}
      {one && (
        <div class="applied">
          <BeforeAfter
            before={one.from.url}
            after={one.url}
            aspect={one.from.width / one.from.height}
            names={["Before", "After"]}
          />
          <button
            class="button"
            type="button"
            onClick={() => save(one.blob, `${one.from.name.replace(/\.\w+$/, "")}-spliced.png`)}
          >
            <DownloadIcon />
            Download this one
          </button>
        </div>
      )}
    </section>
  );
}

function forget(painted: Painted | null): void {
  if (!painted) return;
  release(painted.from);
  URL.revokeObjectURL(painted.url);
}
