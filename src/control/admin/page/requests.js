// Recent requests that failed, were slow or were retried. Each links to what is known of it.

const REQUESTS_SHOWN = 10;
// Of so many of the latest ones the slowest are shown.
const SLOW_LOOKED_AT = 100;
// Each kind: its name, what there is to say without any, and the lists whose news concern it: a request that is of
// several kinds is in the list of the first.
const REQUEST_KINDS = [
  ["failed", "None has failed lately.", ["failed"]],
  ["slow", "None was slow lately.", ["failed", "retried", "slow"]],
  ["retried", "None was retried lately.", ["failed", "retried"]],
];

const asked = { kind: "failed", news: "", isUnderWay: false, list: [], error: "" };

// What the server says at this path, or an error with its sentence.
const ask = async path => {
  const response = await fetch(path, { cache: "no-store" });
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(told.error ?? `the admin port says ${response.status}`);
  return told;
};

const took = us => us === null || us === undefined ? NOTHING : us < 1000 ? `${us} µs` : milliseconds(us / 1e3);

// How a request ended: a colour, and a word.
const ended = ({ status, outcome, cause }) => {
  if (outcome !== "answered") return ["bad", outcome === "cut" ? "broke off" : "client gone"];
  return [status >= 500 ? "bad" : "good", [status, cause].filter(Boolean).join(" ")];
};

// Asks for the list again if there is news of this kind.
const fetchRequests = async state => {
  const [kind, , lists] = REQUEST_KINDS.find(([name]) => name === asked.kind);
  const news = [kind, state.started, ...lists.map(list => state.told[list])].join();
  if (news === asked.news || asked.isUnderWay) return;
  asked.isUnderWay = true;
  try {
    const limit = kind === "slow" ? SLOW_LOOKED_AT : REQUESTS_SHOWN;
    const { requests, keep } = await ask(`v1/requests?kind=${kind}&limit=${limit}`);
    if (kind === "slow") requests.sort((a, b) => b.duration_us - a.duration_us);
    asked.list = requests.slice(0, REQUESTS_SHOWN);
    asked.error = keep === 0 ? "No requests are kept: explain.keep is 0." : "";
    asked.news = news;
  } catch (error) {
    asked.error = `Not known: ${error.message}.`;
  }
  asked.isUnderWay = false;
  listRequests(state);
};

// The columns of the list: kind of the cell, and its label where there is no head.
const REQUEST_COLUMNS = [
  ["", "at"], ["wide request", ""], ["end", ""], ["endpoint", "endpoint"], ["number attempts", "attempts"],
  ["number", "took"],
];

const buildRequest = () => {
  const cells = REQUEST_COLUMNS.map(([kind, label]) => {
    const cell = make("td", kind);
    if (label) cell.dataset.label = label;
    return cell;
  });
  cells[1].append(make("a", "address"));
  cells[2].append(make("span"));
  return make("tr", "", "", ...cells);
};

const listRequests = state => {
  const key = request => `${request.id} ${request.at}`;
  list("requests", "tbody", asked.list, key, buildRequest, ({ cells }, request) => {
    const [at, what, end, endpoint, attempts, duration] = cells;
    say(at, moment(Date.parse(request.at), state.at));
    const link = what.firstChild;
    say(link, `${request.method} ${request.host}${request.path}`);
    link.href = `#request=${encodeURIComponent(request.id)}`;
    const [kind, word] = ended(request);
    paint(end.firstChild, "chip " + kind);
    say(end.firstChild, word);
    say(endpoint, request.endpoint ?? "none");
    say(attempts, String(request.attempts_made));
    say(duration, took(request.duration_us));
  });
  const [, nothing] = REQUEST_KINDS.find(([name]) => name === asked.kind);
  say(byId("requests").querySelector(".empty"), asked.error || nothing);
};

const showRequests = state => {
  const build = ([name]) => {
    const button = make("button", "", name);
    button.addEventListener("click", () => {
      Object.assign(asked, { kind: name, news: "", list: [] });
      showRequests(state);
    });
    return button;
  };
  sync(byId("requests").querySelector(".choice"), REQUEST_KINDS, one => one[0], build, (button, [name]) => {
    button.setAttribute("aria-pressed", String(name === asked.kind));
  });
  listRequests(state);
  fetchRequests(state);
};
