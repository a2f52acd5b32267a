/** The place "Look": one photograph, and what an extractor sees in it, by the instrument that is chosen. */
import { useEffect } from "preact/hooks";
import { loadModels } from "../state/draft.ts";
import { DownloadRow, useDownloads } from "../parts/download_row.tsx";
import { loadExamples } from "../state/examples.ts";
import { Folded } from "../parts/folded.tsx";
import { AlertIcon } from "../parts/icons.tsx";
import { type Instrument, instruments, instrumentWords, type Look } from "../state/instruments.ts";
import { InvertPanel } from "./invert_panel.tsx";
import { BeforeAfter } from "../parts/before_after.tsx";
import {
  arriveAtLook,
  instrument,
  lookForm,
  lookReady,
  overlay,
  photograph,
  point,
  setInstrument,
  setOverlay,
  setPoint,
} from "../state/look_draft.ts";
import { ask, downloadLook, looking, question, seen, watchLooks } from "../state/look_session.ts";
import { OptionField } from "../parts/option_field.tsx";
import { PatchPicker } from "./patch_picker.tsx";
import { EmptyPhotograph, PhotographCaption, useGivenPhotograph } from "./photograph.tsx";
import type { Picture } from "../state/pictures.ts";

export function LookPage({ query }: { query: string }) {
  useEffect(() => {
    loadModels();
    loadExamples();
    return watchLooks();
  }, []);
  useEffect(() => void arriveAtLook(query), [query]);
  useGivenPhotograph();
  const picture = photograph.value;
  return (
    <div class="look" data-ready={lookReady.value}>
      <div class="start-words">
        <h1 tabIndex={-1}>See what the extractor sees.</h1>
        <p>
          It cuts a photograph into patches and describes each. These descriptions steer every transfer; here they are,
          as pictures.
        </p>
      </div>
      {picture === null && lookReady.value && <EmptyPhotograph />}
      {picture !== null && (
        <>
          <fieldset class="presets instruments">
            <legend class="unseen">Instrument</legend>
            {instruments.map((name) => <InstrumentCard key={name} name={name} />)}
          </fieldset>
          <Workplace picture={picture} />
        </>
      )}
    </div>
  );
}

function InstrumentCard({ name }: { name: Instrument }) {
  const { title, help } = instrumentWords[name];
  const chosen = instrument.value === name;
  return (
    <label class="preset" data-chosen={chosen}>
      <input
        type="radio"
        name="instrument"
        value={name}
        checked={chosen}
        onChange={() => setInstrument(name)}
      />
      <span class="preset-title">{title}</span>
      <span class="preset-help">{help}</span>
    </label>
  );
}

function Workplace({ picture }: { picture: Picture }) {
  const name = instrument.value;
  return (
    <div class="job-grid look-grid" data-instrument={name}>
      <div class="job-main">
        <div class="mat">
          {name === "invert" ? <Plain picture={picture} /> : <Stage picture={picture} look={name} />}
        </div>
        <PhotographCaption picture={picture} />
      </div>
      <aside class="job-side" aria-label={instrumentWords[name].title}>
        {name === "invert" ? <InvertPanel /> : <LookPanel look={name} />}
      </aside>
    </div>
  );
}

function Plain({ picture }: { picture: Picture }) {
  return (
    <figure class="stage" style={{ "--aspect": String(picture.width / picture.height) }}>
      <img src={picture.url} alt={`The photograph: ${picture.credit?.title ?? picture.name}`} draggable={false} />
    </figure>
  );
}

/** The newest answer; until it is there the one before it, or the photograph. */
function Stage({ picture, look }: { picture: Picture; look: Look }) {
  const one = seen.value[look];
  const aspect = picture.width / picture.height;
  const name = picture.credit?.title ?? picture.name;
  if (look === "similarity") {
    return (
      <PatchPicker
        src={one?.url ?? picture.url}
        aspect={aspect}
        point={point.value}
        onPoint={setPoint}
        pending={one?.question !== question.value}
        describedBy="picker-help"
      />
    );
  }
  if (one && look === "pca") {
    return <BeforeAfter before={picture.url} after={one.url} aspect={aspect} names={["Photograph", "Parts"]} />;
  }
  return (
    <figure class="stage" data-busy={looking.value} style={{ "--aspect": String(one?.aspect ?? aspect) }}>
      <img
        src={one?.url ?? picture.url}
        alt={one ? `Attention in ${name}` : `The photograph: ${name}`}
        draggable={false}
      />
      {looking.value && <figcaption class="chip">Looking…</figcaption>}
    </figure>
  );
}

function LookPanel({ look }: { look: Look }) {
  const option = (name: string) => lookForm.options.find((one) => one.name === name)!;
  const field = (name: string) => <OptionField key={name} option={option(name)} form={lookForm} />;
  const faults = lookForm.faults.value;
  const rare = ["vit_side", "vit_longest", "resize"];
  return (
    <>
      <section class="sees" aria-labelledby="sees-title">
        <h2 id="sees-title">What one sees</h2>
        <p>{instrumentWords[look].sees}</p>
        {look === "similarity" && (
          <p class="aside" id="picker-help">
            Click the photograph, or move the frame with the arrow keys; with Shift it goes farther.
          </p>
        )}
      </section>
      {faults.form !== undefined && (
        <p class="notice bad" role="alert">
          <AlertIcon />
          <span>
            {faults.form}{" "}
            <button
              class="link"
              type="button"
              onClick={() => {
                lookForm.faults.value = {};
                if (question.value !== null) ask(question.value);
              }}
            >
              Try again
            </button>
          </span>
        </p>
      )}
      <div class="fields narrow">
        {field("model")}
        {field("layer")}
        {look === "attention" && field("head")}
        {look === "attention" && (
          <div class="field">
            <div class="field-top">
              <label for="look-overlay">Over the photograph</label>
            </div>
            <input
              id="look-overlay"
              class="switch"
              type="checkbox"
              role="switch"
              checked={overlay.value}
              onChange={(event) => setOverlay(event.currentTarget.checked)}
            />
          </div>
        )}
      </div>
      <Download ready={seen.value[look]?.question === question.value && question.value !== null} />
      <Folded title="What the extractor is shown" wrong={rare.some((name) => faults[name] !== undefined)}>
        {rare.map(field)}
      </Folded>
    </>
  );
}

function Download({ ready }: { ready: boolean }) {
  const { busy, trouble, once } = useDownloads();
  return (
    <section class="done" aria-label="The picture">
      <DownloadRow enabled={ready && !busy.value} onTake={(format) => once(() => downloadLook(format))} />
      {trouble.value !== null && <p class="fault" role="alert">{trouble.value}</p>}
    </section>
  );
}
