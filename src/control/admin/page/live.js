// The page follows `/events`. A browser asks again by itself when the connection ends; it gives up only if the server
// refuses, and then this does.

const RETRY_MS = 5000;
const SILENCE_MS = 3500;

let heard = 0;

const live = (kind, text) => {
  paint(byId("live"), "chip " + kind);
  say(byId("live"), text);
};

const show = state => {
  heard = Date.now();
  live("good", "live");
  for (const id of ["headline", "charts", "requests", "facts"]) byId(id).hidden = false;
  steering.state = state;
  showHeadline(state);
  showPools(state);
  showFacts(state);
  showRequests(state);
  extend(state);
  showCharts();
  rates.forget(state.at);
};

const listen = () => {
  const source = new EventSource("events");
  source.addEventListener("needs", event => need(JSON.parse(event.data)));
  source.addEventListener("history", event => remember(JSON.parse(event.data)));
  source.addEventListener("state", event => show(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    live("bad", "refused: do too many pages listen already?");
    setTimeout(listen, RETRY_MS);
  });
};

setInterval(() => {
  const silent = Date.now() - heard;
  if (heard && silent > SILENCE_MS) live("bad", `no news for ${span(silent / 1000)}`);
}, 1000);

listen();
