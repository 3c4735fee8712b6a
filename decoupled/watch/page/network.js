// The network: its workers left to right, what each is doing, and the links between them.

import { element, fixed, isOver, percent, put, short, whole } from "./words.js";

const SLOTS_MAX = 16; // drawn; a larger inbox is drawn to scale

export class Network {
  #list = document.getElementById("network");
  #shape = "";
  #workers = [];

  /** `press(stage, what)` is called for buttons. */
  constructor(press) {
    this.press = press;
  }

  show(told) {
    const { run, now } = told;
    const workers = now.workers ?? [];
    const hasButtons = told.allows_faults && !isOver(told.state);
    const shape = JSON.stringify([workers.map((one) => one.layers), run.schedule, run.hidden, hasButtons]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#draw(run, workers, hasButtons);
    }
    const restarts = (stage) => told.events.filter((one) => one.what === "rejoined" && one.stage === stage).length;
    workers.forEach((worker, i) => this.#workers[i](worker, run, restarts(worker.stage), told.state));
  }

  #draw(run, workers, hasButtons) {
    if (!workers.length) {
      this.#list.replaceChildren(element("li", "nobody", "No worker has reported yet."));
      return;
    }
    const made = workers.map((worker) => this.#worker(worker, run, hasButtons));
    this.#workers = made.map(([, fill]) => fill);
    const ends = ["feed", "loss"].map((name) => element("li", `end ${name}`, name));
    this.#list.replaceChildren(ends[0], ...made.map(([item]) => item), ends[1]);
  }

  /** One worker with the link that leads to it; also gives what fills in its numbers. */
  #worker(worker, run, hasButtons) {
    const { stage } = worker;
    const state = element("p", "doing");
    const bar = element("div", "share", element("div"));
    bar.setAttribute("aria-hidden", "true");
    const [busy, waiting] = [element("span"), element("span")];
    const numbers = element("dl", "numbers");
    const named = (name, what) => {
      const value = element("dd");
      const row = element("div", "", element("dt", "", name), value);
      row.title = what;
      numbers.append(row);
      return value;
    };
    const staleness = named("staleness", "Updates between a forward pass and the use of its returned gradient, on average");
    const cosine = named("head cosine", "Cosine of the synthetic with the returned gradient, of late");
    const stash = named("stash", "Microbatches kept because their gradient is still out");
    const restarts = named("restarts", "Times a lost worker was replaced");
    const card = element("article", "worker", element("h3", "", `stage ${stage}`), state);
    card.append(element("p", "layers", layers(worker, run)), bar, element("p", "shares", busy, " ", waiting), numbers);
    if (hasButtons) card.append(this.#buttons(stage));
    const [link, fillLink] = run.schedule === "single" ? [element("div", "link"), () => {}] : inbox(run.window);
    const fill = (now, about, times, runState) => {
      card.dataset.state = isOver(runState) ? "over" : now.state;
      put(state, isOver(runState) ? { finished: "done", interrupted: "ended" }[runState] : now.state);
      bar.firstElementChild.style.inlineSize = `${Math.min(now.busy, 1) * 100}%`;
      put(busy, `busy ${percent(now.busy)}`);
      put(waiting, `waiting ${percent(Math.max(1 - now.busy, 0))}`);
      put(staleness, fixed(now.staleness_mean, 1));
      put(cosine, fixed(now.head_cosine, 2));
      put(stash, whole(now.stash));
      put(restarts, whole(times));
      fillLink(now);
    };
    return [element("li", "step", link, card), fill];
  }

  #buttons(stage) {
    const button = (text, what, name) => {
      const made = element("button", what, text);
      made.type = "button";
      made.setAttribute("aria-label", name);
      made.addEventListener("click", () => this.press(stage, what));
      return made;
    };
    const pause = button("Pause 5 s", "pause", `Pause the worker of stage ${stage} for 5 seconds`);
    return element("div", "buttons", pause, button("Kill", "kill", `Kill the worker of stage ${stage}`));
  }
}

function layers(worker, run) {
  const widths = worker.layers.map((layer) => run.hidden?.[layer] ?? "output");
  return `layer${worker.layers.length > 1 ? "s" : ""} ${worker.layers.join(", ")} · ${widths.join(", ")}`;
}

/** A link: how much its inbox holds, as little slots, and how much passes. */
function inbox(window) {
  const count = Math.min(window, SLOTS_MAX);
  const slots = element("span", "slots", ...Array.from({ length: count }, () => element("i")));
  slots.setAttribute("aria-hidden", "true");
  const [depth, rate] = [element("span", "depth"), element("span", "rate")];
  const unseen = (text) => element("span", "unseen", text);
  const link = element("p", "link", rate, unseen(" samples a second come in, "), slots, depth, unseen(" microbatches wait"));
  const fill = (worker) => {
    put(rate, `${short(worker.samples_per_s)}/s`);
    put(depth, `${worker.inbox}/${window}`);
    const full = Math.ceil((worker.inbox / window) * count);
    [...slots.children].forEach((slot, i) => slot.classList.toggle("full", i < full));
  };
  return [link, fill];
}
