// The page: what comes from the server goes to the parts that show it.

import { KINDS } from "./cells.js";
import { Charts } from "./charts.js";
import { Events } from "./events.js";
import { follow } from "./feed.js";
import { History } from "./history.js";
import { Network } from "./network.js";
import { order } from "./orders.js";
import { Timeline } from "./timeline.js";
import * as title from "./title.js";
import { element, isOver, onTheme, put } from "./words.js";

const byId = (id) => document.getElementById(id);
const [network, timeline, events, charts] = [new Network(order), new Timeline(), new Events(), new Charts()];
let [told, history, isConnected] = [null, null, true];
let toldAt = 0; // ms

const listener = {
  whole(whole) {
    isConnected = true;
    history = new History(whole);
    events.replace(whole.events);
    show(whole);
    if (whole.state === "finished") feed.end();
  },
  news(news) {
    if (history === null || !history.take(news)) return void feed.again();
    const wasOver = told.state === "finished";
    events.take(news.events);
    show(news);
    if (news.state !== "finished" || wasOver) return;
    put(byId("news"), "The run is finished.");
    feed.end();
  },
  lost() {
    if (told?.state === "finished") return feed.end();
    isConnected = false;
    return showTop();
  },
};

function show(news) {
  [told, toldAt] = [{ ...news, evaluations: history.evaluations }, performance.now()];
  timeline.take(news.cells, isOver(news.state));
  network.show({ ...news, events: events.all });
  showCharts();
  showTop();
}

/** Where nobody looks, nothing is drawn. */
function showCharts() {
  if (history && !document.hidden) charts.show(history, events.all);
}

/** What changes by itself too: the seconds without news, and the connection. */
function showTop() {
  const quiet = told ? told.quiet_s + (performance.now() - toldAt) / 1000 : 0;
  if (told) title.show({ ...told, quiet_s: quiet }, isConnected);
  const text = warning();
  byId("banner").hidden = !text;
  put(byId("banner"), text);
}

function warning() {
  if (isConnected) return told?.failure ? `The run's folder cannot be read on: ${told.failure}` : "";
  const again = `decoupled dashboard ${told?.run.folder ?? "RUN"}`;
  return `No connection. What is shown is the last that was known; it goes on when the page is served again, as by ${again}.`;
}

function legend() {
  const made = KINDS.map(([letter, name]) => {
    const patch = element("i", "patch");
    patch.dataset.kind = letter;
    return element("li", "", patch, name);
  });
  byId("kinds").replaceChildren(...made);
}

title.begin();
legend();
const feed = follow(listener);
byId("span").addEventListener("change", (event) => timeline.spread(Number(event.target.value)));
document.addEventListener("visibilitychange", () => {
  showCharts();
  if (!document.hidden) feed.again();
});
setInterval(showTop, 1000);
onTheme(() => {
  timeline.recolour();
  charts.recolour();
  showCharts();
});
