// The connection: the history so far once, then each piece of news as it comes. Connects again by itself.

const AGAIN_MS = 3000;

/** Tells `listener` of the history so far, of news, and of a lost connection. Gives what asks for it anew, and what ends all. */
export function follow(listener) {
  let source = null;
  let missed = []; // news that came while the history was on its way
  let [isAsking, asked, isOver] = [false, 0, false];

  async function ask() {
    const mine = ++asked;
    isAsking = true;
    const whole = await answer();
    if (mine !== asked) return; // it was asked anew, or the connection was lost
    if (whole === null) {
      setTimeout(() => mine === asked && ask(), AGAIN_MS);
      return;
    }
    const later = missed;
    [missed, isAsking] = [[], false];
    listener.whole(whole);
    if (whole.state !== "finished") later.forEach(listener.news); // or older news would follow the end
  }

  function connect() {
    source = new EventSource("api/events");
    source.addEventListener("open", () => {
      missed = [];
      ask();
    });
    source.addEventListener("now", (event) => {
      const news = JSON.parse(event.data);
      if (isAsking) missed.push(news);
      else listener.news(news);
    });
    source.addEventListener("error", () => {
      asked += 1;
      const isRefused = source.readyState === EventSource.CLOSED; // else the browser tries again by itself
      listener.lost();
      if (isRefused && !isOver) setTimeout(connect, AGAIN_MS);
    });
  }

  connect();
  const again = () => source.readyState === EventSource.OPEN && ask();
  const end = () => {
    isOver = true;
    source.close();
  };
  return { again, end };
}

async function answer() {
  try {
    const response = await fetch("api/run");
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
