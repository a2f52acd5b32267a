/**
 * The losses over the steps, on a logarithmic scale, live. Drawn by uPlot; the legend is ours, so that it can be used by keyboard and read aloud. Terms can be switched
 * off. It redraws when the history grows, the place changes its width, or the colours change between light and dark.
 */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import UPlot from "uplot";
import { formatLoss, powersOfTen } from "../state/format.ts";
import type { History } from "../state/job_state.ts";

const terms: Readonly<Record<string, string>> = {
  total: "Total",
  global_cls: "Appearance",
  global_ssim: "Structure",
  global_id: "Identity",
  entire_cls: "Appearance, whole",
  entire_ssim: "Structure, whole",
};
const order = Object.keys(terms);
/** Of terms that the page has not heard of, too. */
const labelOf = (name: string) => terms[name] ?? name.replaceAll("_", " ");
const placeOf = (name: string) => order.indexOf(name) < 0 ? order.length : order.indexOf(name);

export function LossChart({ history, steps }: { history: History; steps: number }) {
  const hidden = useSignal<ReadonlySet<string>>(new Set());
  const hovered = useSignal<number | null>(null);
  const names = Array.from(history.terms.keys()).sort((a, b) => placeOf(a) - placeOf(b));
  const element = useRef<HTMLDivElement>(null);
  const chart = useRef<UPlot | null>(null);
  const scheme = useSignal(0);
  const known = names.join();

  const data = useMemo(
    () => [history.steps, ...names.map((name) => positive(history.terms.get(name)!))] as UPlot.AlignedData,
    [history],
  );

  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const change = () => scheme.value++;
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }, []);

  useEffect(() => {
    const place = element.current;
    if (!place || known === "") return;
    const plot = new UPlot(
      settings(names, { place, steps, hidden: hidden.peek(), onHover: (at) => hovered.value = at }),
      data,
      place,
    );
    chart.current = plot;
    const resized = new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: place.clientHeight }));
    resized.observe(place);
    return () => {
      resized.disconnect();
      plot.destroy();
      chart.current = null;
    };
  }, [known, scheme.value, steps]);

  useEffect(() => chart.current?.setData(data), [data]);

  function toggle(name: string): void {
    const next = new Set(hidden.value);
    if (!next.delete(name)) next.add(name);
    hidden.value = next;
    chart.current?.setSeries(names.indexOf(name) + 1, { show: !next.has(name) });
  }

  if (names.length === 0) return null;
  const at = hovered.value;
  return (
    <section class="losses" aria-labelledby="losses-title">
      <header>
        <h2 id="losses-title">Losses</h2>
        <p>{at === null ? "latest" : `step ${history.steps[at]}`}</p>
      </header>
      <div class="chart" ref={element} role="img" aria-label={summary(history)} />
      <ul class="legend">
        {names.map((name) => (
          <li key={name}>
            <button type="button" aria-pressed={!hidden.value.has(name)} onClick={() => toggle(name)}>
              <i data-series={placeOf(name)} />
              <span>{labelOf(name)}</span>
              <b>{shown(history.terms.get(name)!, at)}</b>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

interface SettingsOptions {
  readonly place: HTMLElement;
  readonly steps: number;
  readonly hidden: ReadonlySet<string>;
  readonly onHover: (at: number | null) => void;
}

function settings(names: readonly string[], { place, steps, hidden, onHover }: SettingsOptions): UPlot.Options {
  const style = getComputedStyle(place);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis: UPlot.Axis = {
    stroke: colour("--ink-3"),
    font: `11px ${style.fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: place.clientWidth,
    height: place.clientHeight,
    padding: [6, 14, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: false, range: [0, Math.max(1, steps)] }, y: { distr: 3, range: around } },
    axes: [
      { ...axis, size: 24, gap: 6, space: 60, grid: { show: false } },
      {
        ...axis,
        size: 44,
        gap: 6,
        space: 24,
        splits: (_, _axis, least, most) => powersOfTen(least, most),
        filter: (_, splits) => splits,
        values: (_, splits) => splits.map(formatLoss),
      },
    ],
    series: [
      {},
      ...names.map((name): UPlot.Series => {
        const whole = name.startsWith("entire");
        const stroke = colour(`--series-${placeOf(name)}`);
        return {
          label: labelOf(name),
          stroke,
          width: name === "total" ? 2 : 1.25,
          show: !hidden.has(name),
          spanGaps: true,
          points: { show: whole, size: 4, fill: stroke, width: 0 },
        };
      }),
    ],
    hooks: { setCursor: [(plot) => onHover(plot.cursor.idx ?? null)] },
  };
}

/** A little room around the curves, at least a power of ten; nothing to draw gives null. */
function around(_: UPlot, least: number | null, most: number | null): [number, number] {
  if (least === null || most === null) return [0.1, 10];
  const room = Math.max(1.3, Math.sqrt(12 / (most / least)));
  return [least / room, most * room];
}

/** A logarithm has no place for zero. */
const positive = (values: readonly (number | null)[]) =>
  values.map((value) => value !== null && value > 0 ? value : null);

function shown(values: readonly (number | null)[], at: number | null): string {
  const value = at === null ? values.findLast((one) => one !== null) : values[at];
  return value === null || value === undefined ? "–" : formatLoss(value);
}

function summary(history: History): string {
  const total = history.terms.get("total")?.filter((value) => value !== null) ?? [];
  if (total.length === 0) return "Losses by step, on a logarithmic scale.";
  return `Losses by step, on a logarithmic scale. The total went from ${formatLoss(total[0])} to ${
    formatLoss(total[total.length - 1])
  }.`;
}
