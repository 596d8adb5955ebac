// What is wrong in a few words, and everything besides pools.

const DAY_MS = 86400e3;
const EXPIRY_WARNING_DAYS = 14;

// What is wrong, a colour and a sentence each, the worst first; then what is no problem but good to know.
const problems = state => {
  const found = [];
  if (!state.ready) found.push(["bad", "Not ready: requests are not welcome yet, or not any more."]);
  for (const pool of state.pools) {
    const open = `Pool ${pool.name}: too few endpoints are healthy, so all of them get requests.`;
    if (pool.mode === "fail-open") found.push(["bad", open]);
    for (const endpoint of pool.endpoints) {
      const { kind, word, why, began } = verdict(endpoint, pool, state.at);
      const tail = [began, why].filter(Boolean).join(": ");
      const name = `${endpoint.address} in pool ${pool.name}`;
      if (kind === "bad") found.push(["bad", `${name} is ${word} ${tail}`]);
      if (endpoint.override) found.push(["note", `${name}: ${setAtRunTime(endpoint, state.at)}.`]);
    }
    for (const gone of pool.absent) {
      found.push(["note", `${gone.address} in pool ${pool.name}, not there now: ${setAtRunTime(gone, state.at)}.`]);
    }
  }
  const refused = "The last edit was refused, the old configuration is in use. See Reloads.";
  if (state.reloads.config_refused) found.push(["bad", refused]);
  for (const { listener, files, refused } of state.certificates) {
    if (refused) found.push(["bad", `The new certificates of listener ${listener} are not used: ${refused}`]);
    for (const { file, not_after } of files) {
      const days = Math.floor((Date.parse(not_after) - state.at) / DAY_MS);
      const words = `${file} of listener ${listener} ${expiry(days)}.`;
      if (days < EXPIRY_WARNING_DAYS) found.push([days < 1 ? "bad" : "warn", words]);
    }
  }
  const { detached, advice } = state.config;
  for (const file of detached) found.push(["warn", `Edits of ${file} are not seen: ${advice}.`]);
  const order = ["bad", "warn", "note"];
  return found.sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
};

const expiry = days => {
  if (days < 1) return days < 0 ? "has expired" : "expires within a day";
  return `expires in ${plural(days, "day")}`;
};

const showHeadline = state => {
  const all = problems(state);
  const found = all.filter(([kind]) => kind !== "note");
  const box = byId("headline");
  const endpoints = state.pools.flatMap(pool => pool.endpoints.map(endpoint => verdict(endpoint, pool, state.at).kind));
  const well = endpoints.filter(kind => kind === "good" || kind === "warn").length;
  const count = `${well} of ${plural(endpoints.length, "endpoint")} ${well === 1 ? "takes" : "take"} requests`;
  paint(box, "panel " + (found.length ? found[0][0] : "good"));
  say(box.querySelector("h2"), found.length ? `${plural(found.length, "problem")}; ${count}` : `All is well: ${count}`);
  // More than that nobody reads.
  const shown = all.slice(0, 12);
  if (all.length > shown.length) shown.push(["warn", `and ${all.length - shown.length} more`]);
  const lines = shown.map((one, at) => [at, ...one]);
  sync(box.querySelector("ul"), lines, one => one[0], () => make("li"), (node, [, kind, text]) => {
    paint(node, kind);
    say(node, text);
  });
  document.title = found.length ? `(${found.length}) unstick` : "unstick";
  showIcon(found.length ? found[0][0] : "good");
};

// The icon of the page has the colour of the headline.
const showIcon = kind => {
  const icon = byId("icon");
  if (icon.dataset.kind === kind) return;
  icon.dataset.kind = kind;
  const canvas = make("canvas");
  canvas.width = canvas.height = 32;
  const context = canvas.getContext("2d");
  context.fillStyle = { good: "#1a9f5b", bad: "#d92d20", warn: "#e0a100" }[kind];
  context.arc(16, 16, 14, 0, 2 * Math.PI);
  context.fill();
  icon.href = canvas.toDataURL("image/png");
};

// Fills a list of a section, which says so if there is nothing.
const list = (id, selector, items, key, build, update) => {
  byId(id).classList.toggle("filled", items.length > 0);
  sync(byId(id).querySelector(selector), items, key, build, update);
};

const showReloads = state => {
  const build = () => make("li", "", "", make("span"), make("span", "soft"), make("p", "message"));
  list("reloads", "ul", state.reloads.recent, one => `${one.at} ${one.trigger}`, build, (node, reload) => {
    const { trigger, ok, message } = reload;
    const at = Date.parse(reload.at);
    paint(node, ok ? "" : "bad");
    paint(node.children[0], "chip " + (ok ? "good" : "bad"));
    say(node.children[0], ok ? "applied" : "refused");
    say(node.children[1], ` ${moment(at, state.at)}, ${span((state.at - at) / 1000)} ago, by ${trigger}`);
    say(node.children[2], message);
  });
};

const showOwn = state => {
  const rate = (cause, total) => rates.of(`own\n${cause}`, total, state.at);
  const rows = Object.entries(state.own_responses).map(([cause, total]) => [cause, rate(cause, total), total]);
  rows.sort((a, b) => (b[1] ?? 0) - (a[1] ?? 0) || b[2] - a[2]);
  const build = () => make("tr", "", "", make("td"), make("td", "number"), make("td", "number"));
  list("own", "tbody", rows, row => row[0], build, (node, [cause, rate, total]) => {
    say(node.cells[0], cause);
    alarm(node.cells[1], rate);
    say(node.cells[2], String(total));
  });
};

const showCertificates = state => {
  const rows = state.certificates.flatMap(({ listener, files }) => files.map(one => ({ listener, ...one })));
  const build = () => make("li", "", "", make("span"), make("span"), make("span", "soft"));
  list("certificates", "ul", rows, one => `${one.listener} ${one.file}`, build, (node, certificate) => {
    const { listener, file, not_after } = certificate;
    const days = Math.floor((Date.parse(not_after) - state.at) / DAY_MS);
    paint(node.children[0], "chip " + (days < 1 ? "bad" : days < EXPIRY_WARNING_DAYS ? "warn" : "good"));
    say(node.children[0], expiry(days));
    say(node.children[1], ` ${file} `);
    say(node.children[2], `listener ${listener}, until ${new Date(not_after).toLocaleDateString()}`);
  });
};

const showFacts = state => {
  showReloads(state);
  showOwn(state);
  showCertificates(state);
  const build = () => make("li", "", "", make("span", "address"), make("span", "soft"));
  list("listeners", "ul", state.listeners, one => one.name, build, (node, { name, address }) => {
    say(node.children[0], address);
    say(node.children[1], ` ${name}`);
  });
  const up = span((state.at - Date.parse(state.started)) / 1000);
  const clients = plural(state.connections, "client connection");
  say(byId("process"), `up ${up}, ${clients}, ${plural(state.workers.length, "worker")}`);
};
