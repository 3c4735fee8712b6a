// The timeline: a row per worker, a column per moment, as high as the worker was busy and in the colours of what it did.
// It is drawn a little late, so that it flows while news comes in pieces, and only what is new is drawn.

import { ABSENT, CELL_MS, KINDS, UNKNOWN, sums } from "./cells.js";
import { element, percent, themed } from "./words.js";

const KEPT = 2600; // cells
const LAG = 80; // cells that it is behind while news comes
const FAR = 800; // cells; further behind it jumps
const GAP = 4; // px between rows
const STRIPE = 6; // device pixels from one to the next
const TOLD_EVERY_MS = 5000;

export class Timeline {
  #canvas = document.getElementById("timeline");
  #context = this.#canvas.getContext("2d");
  #strips = [];
  #end = 0; // the number of the cell after the last
  #shown = 0; // up to which it is drawn, a fraction of a cell too
  #drawn = null; // the last column
  #span = 2000; // cells across
  #colours = [];
  #at = 0; // ms, of the last frame
  #told = -TOLD_EVERY_MS;
  #lag = LAG;
  #isStill = matchMedia("(prefers-reduced-motion: reduce)");

  constructor() {
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    this.recolour();
  }

  /** Takes in the last cells of every worker, of which some may be known. */
  take(cells, isOver) {
    this.#lag = isOver ? 0 : LAG;
    if (!cells.end) return; // nothing is known yet
    if (cells.strips.length !== this.#strips.length) this.#begin(cells);
    const count = (cells.strips[0]?.length ?? 0) / 2;
    const fresh = Math.min(cells.end - this.#end, KEPT);
    if (fresh > 0) {
      const unknown = "?0".repeat(Math.max(fresh - count, 0));
      const known = (strip) => strip.slice(strip.length - 2 * Math.min(fresh, count));
      this.#strips = this.#strips.map((strip, i) => (strip + unknown + known(cells.strips[i])).slice(-2 * KEPT));
      this.#end = cells.end;
    }
    this.#goOn();
    this.#tell();
  }

  /** Shows so many cells across. */
  spread(span) {
    this.#span = span;
    this.#redraw();
  }

  /** Takes the theme's colours. */
  recolour() {
    this.#colours = KINDS.map(([letter]) => (letter === "?" ? themed("unknown") : themed(`kind-${letter}`)));
    this.#colours[ABSENT] = hatched(this.#context, this.#colours[ABSENT], 2);
    this.#colours[UNKNOWN] = hatched(this.#context, this.#colours[UNKNOWN], 1);
    this.#redraw();
  }

  #begin(cells) {
    this.#strips = cells.strips.map(() => "");
    this.#end = cells.end - Math.min(cells.strips[0].length / 2, KEPT);
    const rows = cells.strips.map((_, stage) => element("li", "", `stage ${stage}`));
    document.getElementById("rows").replaceChildren(...rows);
    this.#canvas.parentElement.style.setProperty("--rows", rows.length);
    this.#shown = cells.end;
    this.#resize();
  }

  #goOn() {
    if (this.#at || !this.#strips.length) return;
    if (this.#isStill.matches) {
      this.#shown = this.#end;
      this.#draw();
      return;
    }
    this.#at = performance.now();
    requestAnimationFrame((now) => this.#frame(now));
  }

  #frame(now) {
    const passed = Math.max(now - this.#at, 0) / CELL_MS; // cells
    const behind = this.#end - this.#shown;
    const speed = Math.min(Math.max(1 + (behind - this.#lag) / 200, 0), 3);
    this.#shown = behind > FAR || behind < 0 ? this.#end - this.#lag : Math.min(this.#shown + passed * speed, this.#end);
    this.#draw();
    this.#at = this.#shown < this.#end ? now : 0;
    if (this.#at) requestAnimationFrame((next) => this.#frame(next));
  }

  #resize() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight].map((length) => Math.round(length * ratio));
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      [this.#canvas.width, this.#canvas.height] = [width, height];
    }
    this.#redraw();
  }

  #redraw() {
    this.#drawn = null;
    const seconds = (this.#span * CELL_MS) / 1000;
    document.getElementById("axis").replaceChildren(
      ...[1, 0.75, 0.5, 0.25, 0].map((share) => element("span", "", share ? `−${+(seconds * share).toFixed(2)} s` : "now")),
    );
    if (this.#strips.length) this.#draw();
  }

  #draw() {
    const { width, height } = this.#canvas;
    const last = Math.floor((this.#shown * width) / this.#span) - 1; // the last column that is over
    const fresh = this.#drawn === null ? width : Math.min(last - this.#drawn, width);
    if (fresh <= 0) return;
    if (fresh < width) {
      this.#context.globalCompositeOperation = "copy";
      this.#context.drawImage(this.#canvas, -fresh, 0);
      this.#context.globalCompositeOperation = "source-over";
    }
    this.#context.clearRect(width - fresh, 0, fresh, height);
    for (let x = width - fresh; x < width; x += 1) this.#column(x, last - (width - 1 - x), width, height);
    this.#drawn = last;
  }

  #column(x, column, width, height) {
    const first = Math.floor((column * this.#span) / width);
    const after = Math.max(Math.floor(((column + 1) * this.#span) / width), first + 1);
    const gap = GAP * (devicePixelRatio || 1);
    const row = (height + gap) / this.#strips.length;
    this.#strips.forEach((strip, stage) => {
      const begin = this.#end - strip.length / 2;
      const shares = sums(strip, first - begin, after - begin);
      let foot = Math.round((stage + 1) * row - gap);
      const room = foot - Math.round(stage * row);
      shares.forEach((share, kind) => {
        const tall = Math.round(foot - (share / (after - first)) * room);
        if (!share) return;
        this.#context.fillStyle = this.#colours[kind];
        if (kind >= ABSENT) this.#context.fillStyle.setTransform(new DOMMatrix([1, 0, 0, 1, (x - column) % STRIPE, 0]));
        this.#context.fillRect(x, tall, 1, foot - tall);
        foot = tall;
      });
    });
  }

  /** What can be seen, in words, now and then. */
  #tell() {
    const now = performance.now();
    if (now < this.#told + TOLD_EVERY_MS || !this.#strips.length) return;
    this.#told = now;
    const said = this.#strips.map((strip, stage) => {
      const cells = Math.min(strip.length / 2, 2000);
      const shares = sums(strip, strip.length / 2 - cells, strip.length / 2).map((share) => share / Math.max(cells, 1));
      const away = shares[ABSENT] + shares[UNKNOWN];
      const busy = shares.slice(0, ABSENT).reduce((sum, share) => sum + share, 0);
      const rest = away ? `, without a worker or news ${percent(away)}` : "";
      return `stage ${stage} busy ${percent(busy)}, waiting ${percent(Math.max(1 - busy - away, 0))}${rest}`;
    });
    this.#canvas.setAttribute("aria-label", `In the last 10 s: ${said.join("; ")}`);
  }
}

/** Stripes, so that what is missing is not told by its colour alone. */
function hatched(context, colour, thick) {
  const tile = element("canvas");
  [tile.width, tile.height] = [STRIPE, STRIPE];
  const pen = tile.getContext("2d");
  [pen.strokeStyle, pen.lineWidth] = [colour, thick];
  pen.beginPath();
  for (const shift of [-STRIPE, 0, STRIPE]) {
    pen.moveTo(shift - 1, STRIPE + 1);
    pen.lineTo(shift + STRIPE + 1, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
