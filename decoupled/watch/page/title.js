// The top of the page: which run it is, how it is, how far it is, and its headline figures.

import { NONE, duration, element, figures, percent, put, whole } from "./words.js";

const byId = (id) => document.getElementById(id);

const FIGURES = ["samples/s", "overlap", "training loss", "test accuracy", "epoch", "time"];
const cells = new Map();

/** Makes the places for the figures. */
export function begin() {
  for (const name of FIGURES) place(name);
}

function place(name) {
  const value = element("dd", "", NONE);
  cells.set(name, value);
  byId("figures").append(element("div", "", element("dt", "", name), value));
}

/** Shows what is known of the whole run. */
export function show(told, connected) {
  const { run, now } = told;
  put(byId("name"), run.folder);
  document.title = `${run.folder} – decoupled`;
  showFacts(run);
  showState(told, connected);
  if (now.seconds === undefined) return;
  const share = now.samples_total ? Math.min(now.samples_fed / now.samples_total, 1) : 0;
  byId("progress").setAttribute("aria-valuenow", (share * 100).toFixed(0));
  byId("progress").setAttribute("aria-valuetext", `${whole(now.samples_fed)} of ${whole(now.samples_total)} samples`);
  byId("progress").firstElementChild.style.inlineSize = `${share * 100}%`;
  const test = told.evaluations.at(-1);
  const { samples_per_s, overlap } = told.report ?? now; // of the whole run once it is over
  const said = {
    "samples/s": whole(samples_per_s),
    overlap: percent(overlap),
    "training loss": figures(now.loss),
    "test accuracy": test || run.evaluate_every ? score(test) : "at the end",
    epoch: run.epochs ? `${whole(now.epoch)}/${whole(run.epochs)}` : whole(now.epoch),
    time: duration(now.seconds),
  };
  for (const [name, value] of Object.entries(test?.metrics ?? {})) {
    if (!cells.has(name)) place(name); // perplexity, or a metric of the user's
    said[name] = figures(value);
  }
  for (const [name, text] of Object.entries(said)) put(cells.get(name), text);
}

/** What a test set gave: of values R², of the rest the share of right answers. */
function score(test) {
  return typeof test?.r2 === "number" ? `R² ${test.r2.toFixed(4)}` : percent(test?.accuracy, 2);
}

function showFacts(run) {
  const facts = run.schedule ? [run.schedule, run.data, `hidden ${run.hidden.join(", ")}`, `batch ${run.batch}`] : [];
  if (run.head) facts.push(`${run.head} heads`);
  const list = byId("facts");
  if (list.childElementCount !== facts.length) list.replaceChildren(...facts.map(() => element("li")));
  facts.forEach((fact, i) => put(list.children[i], fact));
}

const STATES = { waiting: "waiting for it to begin", training: "training", finished: "finished", interrupted: "interrupted" };

function showState(told, connected) {
  const state = connected ? told.state : "lost";
  byId("state").dataset.state = state;
  const quiet = `no news for ${duration(Math.round(told.quiet_s)).replace(".0 ", " ")}`;
  put(byId("state"), state === "lost" ? "connection lost" : state === "quiet" ? quiet : STATES[state]);
}
