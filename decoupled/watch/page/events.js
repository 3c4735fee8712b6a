// What happened, the newest first. A screen reader hears only what matters.

import { duration, element, put } from "./words.js";

const KEPT = 200;
const QUIET = new Set(["checkpoint", "evicted", "began"]);

const key = (event) => JSON.stringify([event.seconds, event.stage, event.what, event.detail]);
const sentence = ({ stage, what, detail }) => `${stage === null ? "" : `stage ${stage} `}${what}${detail ? `: ${detail}` : ""}`;

export class Events {
  all = []; // the oldest first
  #list = document.getElementById("events");
  #known = new Set();

  /** Starts anew with the events of a run. */
  replace(events) {
    this.#list.replaceChildren();
    this.#known.clear();
    this.all = [];
    this.#add(events);
  }

  /** Adds those that are new. */
  take(events) {
    const loud = this.#add(events).filter((event) => !QUIET.has(event.what));
    if (loud.length) put(document.getElementById("news"), loud.map(sentence).join(". "));
  }

  #add(events) {
    const fresh = events.filter((event) => !this.#known.has(key(event)));
    for (const event of fresh) {
      this.#known.add(key(event));
      const where = event.stage === null ? "" : `stage ${event.stage} `;
      const what = element("b", "", where + event.what);
      const item = element("li", "", element("time", "", duration(event.seconds)), what, ` ${event.detail}`);
      item.dataset.what = event.what;
      this.#list.prepend(item);
    }
    this.all = [...this.all, ...fresh].slice(-KEPT);
    while (this.#list.childElementCount > KEPT) this.#list.lastElementChild.remove();
    return fresh;
  }
}
