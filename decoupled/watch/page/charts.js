// The charts over the whole run: what each of them shows.

import { Chart } from "./chart.js";
import { fixed, figures, percent, short } from "./words.js";
import uPlot from "./vendor/uPlot.esm.js";

const stages = (name) => (history) => {
  const lines = history.byStage(name);
  return { data: [history.seconds, ...lines], names: lines.map((_, stage) => `stage ${stage}`) };
};

const rate = (history) => ({ data: [history.seconds, history.samples_per_s], names: ["samples/s"] });

const CHARTS = [
  { title: "Samples a second", say: short, floor: 0, lines: rate },
  { title: "Loss", say: figures, isLog: true, lines: losses },
  { title: "Test accuracy", say: (it) => percent(it, 2), hasPoints: true, isAbsent: hasNone, lines: accuracy },
  { title: "Test metrics", say: figures, hasPoints: true, isAbsent: (it) => !metricsOf(it).length, lines: metrics },
  { title: "Busy share", say: percent, floor: 0, ceiling: 1, lines: stages("busy") },
  { title: "Staleness, in updates", say: (it) => fixed(it, 1), floor: 0, lines: stages("staleness") },
  { title: "True gradients", say: percent, floor: 0, ceiling: 1, isAbsent: (it) => !it.hasHeads, lines: stages("truth") },
  { title: "Head cosine", say: (it) => fixed(it, 2), isAbsent: (it) => !it.hasHeads, lines: stages("head_cosine") },
];

const tests = ({ evaluations }, name) => [evaluations.map((one) => one.seconds), evaluations.map((one) => one[name])];

function losses(history) {
  const test = tests(history, "loss");
  return { data: uPlot.join([[history.seconds, history.loss], test]), names: ["training", "test"], isSparse: true };
}

function accuracy(history) {
  return { data: tests(history, "accuracy"), names: ["test"] };
}

const metricsOf = ({ evaluations }) => Object.keys(evaluations.at(-1)?.metrics ?? {});

function metrics(history) {
  const names = metricsOf(history);
  const line = (name) => history.evaluations.map((one) => one.metrics?.[name] ?? null);
  return { data: [history.evaluations.map((one) => one.seconds), ...names.map(line)], names };
}

/** Where right and wrong mean nothing. */
function hasNone({ evaluations }) {
  return evaluations.length > 0 && evaluations.every((one) => one.accuracy === null);
}

export class Charts {
  #charts = CHARTS.map((about) => new Chart(about));

  constructor() {
    document.getElementById("charts").replaceChildren(...this.#charts.map((chart) => chart.figure));
  }

  /** Shows the run so far, with a mark for each worker that was lost or came. */
  show(history, events) {
    for (const chart of this.#charts) chart.show(history, events);
  }

  /** Takes the theme's colours. */
  recolour() {
    for (const chart of this.#charts) chart.forget();
  }
}
