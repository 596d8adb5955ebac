// Pools with their endpoints, and what is wrong with them.

// What an endpoint does: a colour, a word, the reason, since when; and whether somebody should be woken.
const verdict = (endpoint, pool, now) => {
  const began = endpoint.since ? since(endpoint.since, now) : "";
  const by = endpoint.override?.state ? "" : "by the config; ";
  if (endpoint.wanted === "down") return { kind: "off", word: "down", why: `${by}it is not probed` };
  if (endpoint.wanted === "drain") {
    const { in_flight } = endpoint;
    const left = in_flight ? `it finishes ${plural(in_flight, "request")}` : "it has no requests left";
    return { kind: "off", word: "draining", why: by + left };
  }
  if (endpoint.state === "unhealthy") {
    const still = pool.mode === "fail-open" ? "; it gets requests all the same" : "";
    // Without a reason the last probe was good.
    const why = endpoint.reason ?? `${plural(endpoint.streak, "good probe")} in a row, which is too few yet`;
    return { kind: "bad", word: "unhealthy", why: why + still, began };
  }
  if (endpoint.ejection) {
    const left = span((Date.parse(endpoint.ejection.until) - now) / 1000);
    const probe = endpoint.reason ? `; the last probe: ${endpoint.reason}` : "";
    const why = `requests failed in a row; it gets some again in ${left}${probe}`;
    return { kind: "bad", word: "ejected", why, began: since(endpoint.ejection.since, now) };
  }
  if (endpoint.state === "unchecked") return { kind: "warn", word: "unchecked", why: "not probed yet" };
  if (endpoint.wanted === "held") {
    return { kind: "warn", word: "held", why: "it was removed, but no new endpoint has passed its check yet", began };
  }
  if (endpoint.streak > 0) {
    const why = `${plural(endpoint.streak, "failed probe")} in a row: ${endpoint.reason}`;
    return { kind: "warn", word: "healthy", why, began };
  }
  if (endpoint.admission === "returning") return { kind: "warn", word: "returning", why: "its share grows", began };
  if (!pool.health_check) return { kind: "good", word: "in use", why: "no probes" };
  return { kind: "good", word: "healthy", why: "", began };
};

// The columns of endpoints: label, kind of the cell, and what is in it.
const COLUMNS = [
  ["endpoint", "wide", (cell, { endpoint }) => {
    if (!cell.firstChild) cell.append(make("span", "address"), make("span", "backend"));
    say(cell.children[0], endpoint.address);
    say(cell.children[1], endpoint.backend === endpoint.address ? "" : endpoint.backend);
  }],
  ["state", "wide", (cell, { state, set }) => {
    const chip = cell.firstChild ?? cell.appendChild(make("span"));
    paint(chip, "chip " + state.kind);
    say(chip, state.word);
    if (!cell.children[1]) cell.append(make("span", "why"), make("span", "set"));
    say(cell.children[1], [state.why, state.began].filter(Boolean).join(", "));
    say(cell.children[2], set);
  }],
  ["requests/s", "number", (cell, { rate }) => say(cell, figure(rate.requests))],
  ["failures/s", "number", (cell, { rate }) => alarm(cell, rate.failures)],
  ["5xx/s", "number", (cell, { rate }) => alarm(cell, rate.errors)],
  ["in flight", "number", (cell, { endpoint }) => say(cell, figure(endpoint.in_flight))],
  ["p50", "number", (cell, { latest }) => say(cell, milliseconds(latest.p50_ms))],
  ["p99", "number", (cell, { latest }) => say(cell, milliseconds(latest.p99_ms))],
  ["weight", "number", (cell, { endpoint }) => say(cell, String(endpoint.weight))],
  ["share / fair", "wide share", (cell, { endpoint, rate }) => {
    if (!cell.firstChild) cell.append(make("span", "number"), make("div", "bar", "", make("i"), make("b")));
    const [words, bar] = cell.children;
    say(words, `${percent(rate.share)} / ${percent(endpoint.fair_share)}`);
    bar.firstChild.style.width = (rate.share ?? 0) * 100 + "%";
    bar.lastChild.style.left = `calc(${endpoint.fair_share * 100}% - 1px)`;
  }],
  ["", "wide buttons", (cell, row) => showButtons(cell, row)],
];

const alarm = (cell, rate) => {
  say(cell, figure(rate));
  cell.classList.toggle("bad", rate > 0);
};

const buildEndpoint = () => {
  const row = make("tr");
  for (const [label, kind] of COLUMNS) {
    const cell = row.appendChild(make("td", kind));
    if (label && label !== "endpoint" && label !== "state") cell.dataset.label = label;
  }
  return row;
};

const buildPool = pool => {
  const head = make("tr");
  for (const [label, kind] of COLUMNS) head.append(make("th", kind, label));
  const header = make("header", "", "", make("h2", "", pool.name), make("span"), make("span", "soft"));
  const table = make("table", "endpoints cards", "", make("thead", "", "", head), make("tbody"));
  const did = make("p", "did");
  did.setAttribute("role", "status");
  const parts = [header, make("dl", "figures"), did, table, make("p", "soft"), make("div", "charts")];
  const node = make("article", "panel pool", "", ...parts);
  node.dataset.pool = pool.name;
  return node;
};

const MODES = {
  "healthy": ["good", "healthy endpoints get requests"],
  "fail-open": ["bad", "fail open: all get requests"],
  "unknown": ["warn", "not probed yet: all get requests"],
};

const showPool = (node, pool, state) => {
  const [header, figures, , table, draining] = node.children;
  const [, mode, balance] = header.children;
  const [kind, words] = MODES[pool.mode] ?? ["warn", pool.mode];
  paint(mode, "chip " + kind);
  say(mode, words);
  say(balance, pool.balance);
  const latest = state.latest[pool.name] ?? {};
  const retries = rates.of(`${pool.name}\n\nretries`, pool.retries, state.at);
  const facts = [
    ["requests/s", figure(latest.requests)], ["failed/s", figure(latest.failed), latest.failed > 0],
    ["p50", milliseconds(latest.p50_ms)], ["p99", milliseconds(latest.p99_ms)], ["retries/s", figure(retries)],
    ["waiting", figure(pool.waiting), pool.waiting > 0],
  ];
  const build = ([label]) => make("div", "", "", make("dt", "", label), make("dd"));
  sync(figures, facts, fact => fact[0], build, (one, fact) => {
    say(one.lastChild, fact[1]);
    paint(one.lastChild, fact[2] ? "bad" : "");
  });
  const measured = measure(pool, state.at);
  const verdicts = pool.endpoints.map(endpoint => verdict(endpoint, pool, state.at));
  const rows = pool.endpoints.map((endpoint, at) => {
    const set = setAtRunTime(endpoint, state.at);
    const last = latest.endpoints?.[endpoint.address] ?? {};
    return { endpoint, set, rate: measured[at], state: verdicts[at], latest: last };
  });
  sync(table.tBodies[0], rows, row => row.endpoint.address, buildEndpoint, (node, row) => {
    paint(node, row.state.kind);
    COLUMNS.forEach(([, , show], at) => show(node.cells[at], row));
  });
  const left = pool.draining.map(one => `${one.address} (${plural(one.in_flight, "request")})`);
  say(draining, left.length ? `Removed and still draining: ${left.join(", ")}` : "");
};

const showPools = state =>
  sync(byId("pools"), state.pools, pool => pool.name, buildPool, (node, pool) => showPool(node, pool, state));
