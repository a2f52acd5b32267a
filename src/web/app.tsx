/** The page: one view at a time under a common head. Everything it shows comes from this server; it asks no other. */
import { computed, effect } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { announcement } from "./state/announce.ts";
import { reachable } from "./talk/api.ts";
import { restoreDraft } from "./state/draft.ts";
import { GalleryPage } from "./pages/gallery_page.tsx";
import { Mark } from "./parts/icons.tsx";
import { JobPage } from "./pages/job_page.tsx";
import { connection, session } from "./state/job_session.ts";
import { phaseOf } from "./state/job_state.ts";
import { KeyDialog } from "./parts/key_dialog.tsx";
import { followLink, place } from "./location.ts";
import { LookPage } from "./pages/look_page.tsx";
import { readiness, watchReadiness } from "./state/readiness.ts";
import { StartPage } from "./pages/start_page.tsx";

const title = computed(() => {
  const state = session.value;
  if (place.value.view === "gallery") return "Gallery · Splice";
  if (place.value.view === "look") return "Look · Splice";
  if (place.value.view === "start" || !state) return "Splice";
  const words = {
    queued: "Waiting",
    warming: "Warming up",
    running: `${Math.floor(state.job.step / state.job.steps * 100)} %`,
    finishing: "Finishing",
    succeeded: "Done",
    failed: "Failed",
    canceled: "Canceled",
  };
  return `${words[phaseOf(state)]} · Splice`;
});

/** How the page and the server stand, in two words. */
const standing = computed((): { tone: "good" | "busy" | "bad"; words: string } => {
  if (!reachable.value) return { tone: "bad", words: "No connection" };
  if (place.value.view === "job" && session.value && connection.value === "live") {
    return { tone: "good", words: "Live" };
  }
  if (place.value.view === "job" && session.value && connection.value === "trying") {
    return { tone: "busy", words: "Connecting" };
  }
  if (readiness.value === "warming") return { tone: "busy", words: "Getting ready" };
  return { tone: "good", words: "Ready" };
});

function App() {
  useEffect(watchReadiness, []);
  const { view } = place.value;
  return (
    <>
      <a class="skip" href="#content">Skip to the content</a>
      <header class="bar">
        <a class="mark" href="/" aria-label="Splice, start page">
          <Mark />
          <span>Splice</span>
        </a>
        <nav aria-label="Views">
          <a href="/" aria-current={view === "start" ? "page" : undefined}>New</a>
          <a href="/?look" aria-current={view === "look" ? "page" : undefined}>Look</a>
          <a href="/?gallery" aria-current={view === "gallery" ? "page" : undefined}>Gallery</a>
        </nav>
        <Standing />
      </header>
      <main id="content" tabIndex={-1}>
        {view === "start" && <StartPage />}
        {view === "job" && <JobPage id={place.value.view === "job" ? place.value.id : ""} />}
        {view === "look" && <LookPage query={place.value.view === "look" ? place.value.query : ""} />}
        {view === "gallery" && <GalleryPage />}
      </main>
      <footer class="foot">
        <p>
          After{" "}
          <a href="https://arxiv.org/abs/2201.00424" rel="noreferrer" target="_blank">Splicing ViT Features</a>, CVPR
          2022
        </p>
        <a href="/docs">API</a>
      </footer>
      <div class="unseen" role="status" aria-live="polite">{announcement.value}</div>
      <KeyDialog />
    </>
  );
}

function Standing() {
  const { tone, words } = standing.value;
  return <p class="standing" data-tone={tone}>{words}</p>;
}

effect(() => {
  document.title = title.value;
});
document.addEventListener("click", followLink);
restoreDraft();
render(<App />, document.querySelector("#page")!);
