// What became of one request, in words and bars. Its address ends in `#request=ID`, so that it can be passed on.

const CHOSEN = {
  "own-connection": "the client has a connection of its own to it",
  "again": "its kept connection had been closed before anything was sent",
  "queue": "it had room when it was the turn of the request",
};
const CONNECTIONS = { new: "new connection", kept: "kept connection", joined: "connection that was just being opened" };
const LEFT = { unsent: "Nothing had been sent", sent: "The request had been sent", lost: "Its body was used up" };
const DECISIONS = {
  "again": "so there was another attempt",
  "attempts-used-up": "and no attempt was left",
  "may-have-been-executed": "so it may have been executed, and its method is not idempotent: it was not repeated",
  "not-kept": "and its body was not kept for another attempt",
  "budget-used-up": "and the retry budget of the pool was used up",
  "not-the-endpoint": "and no other endpoint would have done better",
};
const LOOKED_AT = {
  pick: "As they were right before the first pick.",
  failure: "As they were right after the first failure.",
  end: "As they were when the request was over.",
};

const dialog = byId("explain");

// The steps that end at these moments, each with a colour and a name. One that was not reached is left out, and its
// time is part of the next one.
const steps = (began, moments) => {
  let from = began;
  return moments.filter(([, , at]) => at !== null && at !== undefined).map(([kind, name, at]) => {
    const step = { kind, name, from, length: Math.max(0, at - from) };
    from = Math.max(from, at);
    return step;
  });
};

const lastStep = (head_us, end_us) => ["body", head_us === null ? "until it was given up" : "response body", end_us];

const stepsOfRequest = ({ phases, attempts_made, queue_us }) => {
  const picking = attempts_made > 1 ? "earlier attempts" : queue_us ? "waiting for room" : "picking";
  return steps(0, [
    ["route", "routing", phases.routed_us], ["pick", picking, phases.picked_us],
    ["connect", "connecting", phases.connected_us], ["send", "sending", phases.sent_us],
    ["wait", "waiting for the response", phases.head_us], lastStep(phases.head_us, phases.end_us),
  ]);
};

const stepsOfAttempt = ({ began_us, connected_us, sent_us, head_us, end_us }) => steps(began_us, [
  ["connect", "connecting", connected_us], ["send", "sending", sent_us], ["wait", "waiting for the response", head_us],
  lastStep(head_us, end_us),
]);

// Steps as a bar whose whole width is the duration of the request.
const timeBar = (parts, duration) => {
  const bar = make("div", "time");
  bar.setAttribute("aria-hidden", "true");
  for (const { kind, name, from, length } of parts) {
    const part = bar.appendChild(make("i", kind));
    part.title = `${name}: ${took(length)}`;
    part.style.left = 100 * from / Math.max(1, duration) + "%";
    part.style.width = 100 * length / Math.max(1, duration) + "%";
  }
  return bar;
};

const timeLegend = parts => make("ul", "legend", "", ...parts.map(({ kind, name, length }) => {
  return make("li", "", "", make("i", kind), `${name} `, make("b", "", took(length)));
}));

const sentence = words => `${words[0].toUpperCase()}${words.slice(1)}.`;

const attemptWords = (attempt, story) => {
  const { chosen, connection, protocol, connect_us, tls_us, failure } = attempt;
  const why = CHOSEN[chosen] ?? `picked by ${story.candidates?.balance ?? "the algorithm of the pool"}`;
  const how = connection ? [`${CONNECTIONS[connection]}, ${protocol}`] : ["no connection"];
  if (connect_us !== null) how.push(`connected in ${took(connect_us)}`);
  if (tls_us !== null) how.push(`TLS in ${took(tls_us)}`);
  const words = [`Why there: ${why}`, how.join(", ")];
  if (failure) words.push([LEFT[failure.request], DECISIONS[failure.decision]].join(", "));
  return words.map(sentence).join(" ");
};

const attemptItem = (attempt, at, story) => {
  const { endpoint, status, failure, began_us, end_us } = attempt;
  const kind = failure ? "bad" : status >= 500 ? "bad" : status ? "good" : "warn";
  const chip = make("span", "chip " + kind, failure ? failure.cause : status ? String(status) : "no response");
  const head = make("p", "", "", `${at + 1}. `, make("span", "address", endpoint), " ", chip);
  head.append(make("span", "soft", ` after ${took(end_us - began_us)}`));
  const bar = timeBar(stepsOfAttempt(attempt), story.duration_us);
  const parts = [head, bar, make("p", "", attemptWords(attempt, story))];
  if (failure?.error) parts.push(make("p", "error", failure.error));
  return make("li", "", "", ...parts);
};

// The endpoints that it could go to, with what speaks for and against each.
const candidateTable = ({ endpoints }, story) => {
  const columns = ["endpoint", "state", "weight", "in flight", "failure load", "latency"];
  const numbers = columns.slice(2);
  const head = make("tr", "", "", ...columns.map(one => make("th", numbers.includes(one) ? "number" : "", one)));
  const rows = endpoints.map(one => {
    const tried = story.attempts.some(attempt => attempt.endpoint === one.endpoint);
    const state = [one.state, one.admission === "full" ? "" : one.admission, one.wanted === "ready" ? "" : one.wanted];
    const values = [one.weight, one.in_flight, one.failure_load, took(one.latency_us)];
    const cells = values.map((value, at) => {
      const cell = make("td", "number", String(value));
      cell.dataset.label = numbers[at];
      return cell;
    });
    const name = make("td", "wide", "", make("span", "address", one.endpoint), tried ? make("b", "", " tried") : "");
    return make("tr", "", "", name, make("td", "wide", state.filter(Boolean).join(", ")), ...cells);
  });
  return make("table", "cards", "", make("thead", "", "", head), make("tbody", "", "", ...rows));
};

const facts = story => {
  const { route } = story;
  const known = [
    ["identifier", story.id], ["began", new Date(story.at).toLocaleString([], { hour12: false })],
    ["kept because", story.kinds.map(kind => kind === "sampled" ? "part of the sample" : kind).join(", ")],
    ["client", `${story.client}, ${story.version}, listener ${story.listener}`],
    ["route", route ? `number ${route.place}: ${route.conditions}` : "none"], ["pool", story.pool ?? "none"],
    ["response", story.origin ? `by ${story.origin}, ${story.bytes} bytes` : "none"],
  ];
  const line = ([name, value]) => make("div", "", "", make("dt", "", name), make("dd", "", value));
  return make("dl", "facts", "", ...known.map(line));
};

const storyParts = story => {
  const [kind, word] = ended(story);
  const summary = make("p", "", "", make("span", "chip " + kind, word));
  summary.append(` after ${took(story.duration_us)}, ${plural(story.attempts_made, "attempt")}`);
  const parts = [summary];
  if (story.explanation) parts.push(make("p", "", sentence(story.explanation)));
  if (story.error) parts.push(make("p", "error", story.error));
  const whole = stepsOfRequest(story);
  parts.push(make("h3", "", "Where the time went"), timeBar(whole, story.duration_us), timeLegend(whole));
  if (story.attempts.length) {
    const items = story.attempts.map((attempt, at) => attemptItem(attempt, at, story));
    parts.push(make("h3", "", "Attempts"), make("ul", "attempts", "", ...items));
  }
  const { candidates } = story;
  if (candidates) {
    const omitted = candidates.omitted ? `${candidates.omitted} more are not named.` : "";
    const how = `Picked by ${candidates.balance}, mode ${candidates.mode}.`;
    const words = [LOOKED_AT[candidates.as_of], how, omitted].filter(Boolean).join(" ");
    const title = `Endpoints of pool ${candidates.pool}`;
    parts.push(make("h3", "", title), make("p", "soft", words), candidateTable(candidates, story));
  }
  return [...parts, make("h3", "", "The request"), facts(story)];
};

// Shows the request that the address names, or nothing.
const explain = async () => {
  const { hash } = location;
  const id = /^#request=(.+)$/.exec(hash)?.[1];
  if (!id) return dialog.close();
  const [heading, box] = [byId("explained"), dialog.querySelector(".story")];
  say(heading, "One moment");
  box.replaceChildren();
  if (!dialog.open) dialog.showModal();
  try {
    const story = await ask(`v1/requests/${id}`);
    // Another one may have been asked for meanwhile.
    if (location.hash !== hash) return;
    say(heading, `${story.method} ${story.host}${story.path}`);
    box.replaceChildren(...storyParts(story));
  } catch (error) {
    say(heading, "Not known");
    box.append(make("p", "", error.message));
  }
};

addEventListener("hashchange", explain);
dialog.querySelector("button").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
});
explain();
