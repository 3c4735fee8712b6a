// The run so far, as the charts need it: a list for each quantity. Grows with the news, and gets coarser when it is long.

const POINTS_MAX = 1500;

export class History {
  #number = 0; // of the record of the last point
  #names = ["samples_per_s", "loss", "busy", "staleness", "truth", "head_cosine"];

  constructor(whole) {
    this.#number = whole.number;
    this.seconds = [];
    for (const name of this.#names) this[name] = [];
    Object.assign(this, whole.history);
    this.evaluations = whole.evaluations;
    this.hasHeads = whole.run.head !== null; // not known before the run begins
  }

  /** Adds the last moment, if it is another. False when it does not fit what came before. */
  take(news) {
    const { now, run } = news;
    this.hasHeads = run.head !== null;
    const known = new Set(this.evaluations.map((one) => one.epoch)); // one that was lost is made again, later than others
    this.evaluations.push(...news.evaluations.filter((one) => !known.has(one.epoch)));
    this.evaluations.sort((one, other) => one.epoch - other.epoch);
    if (now.seconds === undefined || news.number <= this.#number) return true;
    const workers = this.busy.at(-1)?.length ?? now.workers.length;
    if (now.seconds < (this.seconds.at(-1) ?? 0) || workers !== now.workers.length) return false;
    this.#number = news.number;
    this.seconds.push(now.seconds);
    this.samples_per_s.push(now.samples_per_s);
    this.loss.push(now.loss);
    this.busy.push(now.workers.map((one) => one.busy));
    this.staleness.push(now.workers.map((one) => one.staleness_mean));
    this.truth.push(now.workers.map((one) => one.truth));
    this.head_cosine.push(now.workers.map((one) => one.head_cosine));
    if (this.seconds.length > POINTS_MAX) {
      for (const name of ["seconds", ...this.#names]) this[name] = this[name].filter((_, i) => i % 2);
    }
    return true;
  }

  /** One list for each stage of a quantity that each stage has. */
  byStage(name) {
    return (this[name].at(-1) ?? []).map((_, stage) => this[name].map((moment) => moment[stage]));
  }
}
