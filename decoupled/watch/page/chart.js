// One chart over the whole run, drawn by uPlot: how it looks, and what is said beside it and to those who do not see it.

import { duration, element, put, stageLine, themed } from "./words.js";
import uPlot from "./vendor/uPlot.esm.js";

const HEIGHT = 150;
const MARKED = { lost: "bad", rejoined: "good", "rolled back": "bad", resumed: "good" };
const TOLD_EVERY_MS = 5000;

export class Chart {
  #plot = null;
  #shape = "";
  #marks = [];
  #until = 1; // seconds
  #told = -TOLD_EVERY_MS;

  constructor(about) {
    this.about = about;
    this.key = element("ul", "key");
    this.place = element("div", "plot");
    this.place.setAttribute("role", "img");
    this.place.tabIndex = 0;
    this.place.addEventListener("keydown", (event) => this.#step(event));
    this.figure = element("figure", "", element("figcaption", "", element("h3", "", about.title), this.key), this.place);
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.place);
  }

  forget() {
    this.#shape = "";
  }

  show(history, events) {
    const { data, names, isSparse } = this.about.lines(history);
    this.figure.hidden = Boolean(this.about.isAbsent?.(history));
    this.#marks = events.filter((event) => event.what in MARKED);
    this.#until = Math.max(history.seconds.at(-1) ?? 0, data[0].at(-1) ?? 0, 1);
    if (this.figure.hidden) return;
    const known = data.slice(1).flatMap((values) => values.filter((value) => value != null));
    const isLog = Boolean(this.about.isLog) && known.length > 0 && known.every((value) => value > 0);
    const shape = JSON.stringify([names, isLog]);
    if (shape === this.#shape) {
      this.#plot.setData(data);
    } else {
      this.#shape = shape;
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(names, isLog, isSparse), data, this.place);
    }
    this.#sayValues();
    if (performance.now() >= this.#told + TOLD_EVERY_MS) this.#tell();
  }

  /** Arrow keys move the cursor, Escape takes it away. */
  #step({ key }) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Escape: 0 }[key];
    if (by === undefined || !this.#plot?.data[0].length) return;
    const [times] = this.#plot.data;
    const last = times.length - 1;
    const at = Math.min(Math.max((this.#plot.cursor.idx ?? last) + by, 0), last);
    this.#plot.setCursor({ left: by ? this.#plot.valToPos(times[at], "x") : -10, top: 0 });
    this.#tell();
  }

  #size() {
    return { width: Math.max(this.place.clientWidth, 100), height: HEIGHT };
  }

  #options(names, isLog, isSparse) {
    const { say, floor, ceiling, hasPoints } = this.about;
    const [grid, ticks] = [{ stroke: themed("line"), width: 1 }, { show: false }];
    const axis = { stroke: themed("soft"), font: `11px ${themed("font")}`, grid, ticks };
    const times = (plot, found) => found.map((time) => duration(time).replace(".0 ", " "));
    const values = (plot, found) => found.map((value) => (value === null ? "" : say(value).replace(".00 %", " %")));
    const lines = names.map((name, i) => {
      const line = names.length > 1 && !isSparse ? stageLine(i) : { colour: themed(`stage-${isSparse ? i : 0}`), dash: [] };
      const points = { show: hasPoints || (isSparse && i > 0), size: 5 };
      return { label: name, stroke: line.colour, dash: line.dash, width: 1.5, spanGaps: Boolean(isSparse), points };
    });
    this.key.replaceChildren(...lines.map((line, i) => element("li", "", swatch(line), `${names[i]} `, element("b"))));
    return {
      ...this.#size(),
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, sync: { key: "run" }, y: false, points: { size: 6 } },
      scales: {
        x: { time: false, range: () => [0, this.#until] },
        y: isLog ? { distr: 3, range: wholeDecades } : { range: (plot, low, high) => limits(low, high, floor, ceiling) },
      },
      axes: [
        { ...axis, size: 24, values: times },
        { ...axis, size: 54, values, ...(isLog && { splits: decades }) },
      ],
      series: [{}, ...lines],
      hooks: { draw: [(plot) => this.#mark(plot)], setCursor: [() => this.#sayValues()] },
    };
  }

  /** Vertical lines: dashed where a worker was lost, whole where one came. */
  #mark(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    for (const { seconds, what } of this.#marks) {
      const x = Math.round(plot.valToPos(seconds, "x", true)) + 0.5;
      ctx.strokeStyle = themed(MARKED[what]);
      ctx.setLineDash(MARKED[what] === "bad" ? [3 * devicePixelRatio, 3 * devicePixelRatio] : []);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** Beside each line's name, its value under the cursor or else its last. */
  #sayValues() {
    if (!this.#plot) return;
    const { data, cursor } = this.#plot;
    const at = cursor.idx ?? null;
    [...this.key.querySelectorAll("b")].forEach((place, i) => put(place, this.about.say(valueUpTo(data[i + 1], at))));
  }

  /** The same for those who hear it. */
  #tell() {
    this.#told = performance.now();
    const { data, cursor, series } = this.#plot;
    const at = cursor.idx ?? null;
    const said = series.slice(1).map(({ label }, i) => `${label} ${this.about.say(valueUpTo(data[i + 1], at))}`);
    const marks = this.#marks.map((one) => `${one.what} at ${duration(one.seconds)}`).join(", ");
    const [times] = data;
    const from = times.length ? ` from ${duration(times[0])} to ${duration(times.at(-1))}` : "";
    const when = at === null ? "last" : `at ${duration(times[at])}`;
    const marked = marks && `; marked: ${marks}`;
    this.place.setAttribute("aria-label", `${this.about.title}${from}; ${when}: ${said.join(", ")}${marked}`);
  }
}

/** The last value there is, up to an index if there is one. */
function valueUpTo(values, at) {
  for (let i = Math.min(at ?? Infinity, values.length - 1); i >= 0; i -= 1) if (values[i] != null) return values[i];
  return null;
}

function limits(low, high, floor, ceiling) {
  if (low === null) return [floor ?? 0, ceiling ?? 1];
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.02, 1e-6);
  return [floor ?? low - room, ceiling ?? high + room];
}

/** What a logarithmic axis reaches over, one power of ten or more. */
function wholeDecades(plot, low, high) {
  const first = Math.floor(Math.log10(low));
  return [10 ** first, 10 ** Math.max(Math.ceil(Math.log10(high)), first + 1)];
}

/** Where it has its lines. */
function decades(plot, axis, low, high) {
  const [first, last] = [low, high].map((limit) => Math.round(Math.log10(limit)));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

/** A piece of a line, as the chart draws it. */
function swatch({ stroke, dash }) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const attributes = { d: "M0 4H20", stroke, "stroke-width": 2, "stroke-dasharray": dash.join(" ") || "none" };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  for (const [name, value] of Object.entries({ viewBox: "0 0 20 8", width: 20, height: 8, "aria-hidden": "true" })) {
    drawing.setAttribute(name, value);
  }
  drawing.append(line);
  return drawing;
}
