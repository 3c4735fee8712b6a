// The buttons' orders: asks the server to pause or kill a worker, and says what came of it.

import { put } from "./words.js";

const ASKED = { pause: "pause for 5 seconds", kill: "kill itself" };

const FORGOTTEN_MS = 15000;
let forgetting = 0;

/** Asks; what came of it is said below the heading of the network. */
export async function order(stage, what) {
  const answer = document.getElementById("answer");
  put(answer, ""); // so that the same answer is heard again
  const asked = `The worker of stage ${stage} was asked to ${ASKED[what]}.`;
  try {
    const response = await fetch(`api/workers/${stage}/${what}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    put(answer, response.ok ? asked : (await response.json()).error);
    clearTimeout(forgetting);
    forgetting = setTimeout(() => put(answer, ""), FORGOTTEN_MS);
  } catch {
    put(answer, `The worker of stage ${stage} was not asked: the page has no connection.`);
  }
}
