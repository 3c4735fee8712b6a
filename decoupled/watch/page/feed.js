// The connection: the story so far once, then each piece of news as it comes. Starts anew by itself after a loss.

const AGAIN_MS = 3000;

/** Tells `hears` of the story, of news, and of the connection's loss. Returns what asks for the story anew. */
export function follow(hears) {
  let source = null;
  let missed = []; // news that came while the story was on its way
  let asking = 0;

  async function ask() {
    const mine = ++asking;
    try {
      const answer = await fetch("api/story");
      if (!answer.ok) throw new Error(`${answer.status}`);
      const story = await answer.json();
      if (mine !== asking) return;
      hears.story(story);
      const later = missed;
      [missed, asking] = [[], 0];
      later.forEach(hears.news);
    } catch {
      if (mine === asking) setTimeout(() => mine === asking && source?.readyState === EventSource.OPEN && ask(), AGAIN_MS);
    }
  }

  function connect() {
    source = new EventSource("api/events");
    source.addEventListener("open", () => {
      missed = [];
      ask();
    });
    source.addEventListener("now", (event) => {
      const news = JSON.parse(event.data);
      if (asking) missed.push(news);
      else hears.news(news);
    });
    source.addEventListener("error", () => {
      asking = 0;
      if (hears.lost() === "for good") source.close();
      else if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_MS);
    });
  }

  connect();
  return () => source.readyState === EventSource.OPEN && ask();
}
