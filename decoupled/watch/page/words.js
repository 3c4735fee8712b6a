// How things are said and made: numbers in words, elements whose text is never taken for markup, colours of the theme.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const FIGURES = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const NONE = "–";

const unless = (value, say) => (value === null || value === undefined ? NONE : say(value));

export const whole = (value) => unless(value, (it) => WHOLE.format(it));
export const short = (value) => unless(value, (it) => SHORT.format(it).replace("K", "k"));
export const percent = (share, digits = 0) => unless(share, (it) => `${(it * 100).toFixed(digits)} %`);
export const fixed = (value, digits) => unless(value, (it) => it.toFixed(digits));
export const figures = (value) =>
  unless(value, (it) => (it !== 0 && Math.abs(it) < 1e-3 ? it.toExponential(1).replace(".0e", "e") : FIGURES.format(it)));

/** Seconds as a clock shows them once they are many. */
export function duration(seconds) {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)} min`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)} h`;
}

/** A new element with a class and children, of which strings become text. */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Changes an element's text only if it is another, so that nobody hears the same twice. */
export function put(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** A colour or font of the theme, as page.css names it. */
export const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const STAGE_COLOURS = 8;
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];

/** How a stage's line looks: no two of the first 32 are alike, even without colours among the first four. */
export const stageLine = (stage) => ({
  colour: themed(`stage-${stage % STAGE_COLOURS}`),
  dash: DASHES[(stage + Math.floor(stage / STAGE_COLOURS)) % DASHES.length],
});

/** Calls when the theme becomes dark or light. */
export function onTheme(call) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", call);
}

/** Whether nothing more will come of a run that is in this state, unless it is resumed. */
export const isOver = (state) => state === "finished" || state === "interrupted";
