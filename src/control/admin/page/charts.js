// The last ten minutes of each pool, and of the endpoints of each pool.

const MINUTES = 10;
const SAMPLES_MAX = MINUTES * 60;
// More lines than that cannot be told apart.
const LINES_MAX = 8;
const COLOURS = ["#2f6fde", "#d9480f", "#1a9f5b", "#9b59d0", "#b8860b", "#0a8f9c", "#d6336c", "#7c8b9a"];
const POOL_CHARTS = [
  ["requests", "Requests per second, by pool", figure],
  ["failed", "Failed per second (5xx, cut)", figure],
  ["p99_ms", "p99 of the duration, over 5 s", milliseconds],
];
const ENDPOINT_CHARTS = [
  ["requests", "Requests per second, by endpoint", figure],
  ["p99_ms", "p99 of the first byte, over 5 s", milliseconds],
];

// When each sample was taken; of each pool a list of values for each chart, and the same of its `endpoints`.
const past = { at: [], pools: new Map() };

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Lists for each chart that end with now: what is younger than the others has no values at first.
const lists = (kinds, values) => {
  const padded = list => [...Array(past.at.length - list.length).fill(null), ...list];
  return Object.fromEntries(kinds.map(([what]) => [what, padded(values[what] ?? [])]));
};

const listsOfPool = values => {
  const endpoints = Object.entries(values.endpoints ?? {}).map(([name, one]) => [name, lists(ENDPOINT_CHARTS, one)]);
  return { ...lists(POOL_CHARTS, values), endpoints: new Map(endpoints) };
};

// Takes in what the server has kept.
const remember = history => {
  past.at = history.at;
  past.pools = new Map(Object.entries(history.pools).map(([name, values]) => [name, listsOfPool(values)]));
};

// Adds the last second to `known`. What is not `present` any more is forgotten.
const append = (known, present, latest, kinds, begin) => {
  for (const name of known.keys()) if (!present.has(name)) known.delete(name);
  for (const name of Object.keys(latest)) if (!known.has(name)) known.set(name, begin());
  const beyond = past.at.length - SAMPLES_MAX;
  for (const [name, values] of known) {
    for (const [what] of kinds) {
      // One that has just begun has a place for now already.
      values[what][past.at.length - 1] = latest[name]?.[what] ?? null;
      if (beyond > 0) values[what].splice(0, beyond);
    }
  }
};

// Adds the last second, unless it is known already.
const extend = state => {
  if (!state.sampled_at || state.sampled_at <= (past.at[past.at.length - 1] ?? 0)) return;
  past.at.push(state.sampled_at);
  const named = new Map(state.pools.map(pool => [pool.name, pool]));
  append(past.pools, named, state.latest, POOL_CHARTS, () => listsOfPool({}));
  for (const [name, { endpoints }] of past.pools) {
    const present = new Set(named.get(name).endpoints.map(endpoint => endpoint.address));
    const latest = state.latest[name]?.endpoints ?? {};
    append(endpoints, present, latest, ENDPOINT_CHARTS, () => lists(ENDPOINT_CHARTS, {}));
  }
  if (past.at.length > SAMPLES_MAX) past.at.splice(0, past.at.length - SAMPLES_MAX);
};

const clock = seconds => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

// Seconds are shown only where minutes would repeat.
const clocks = (chart, ticks) => {
  const { min, max } = chart.scales.x;
  return ticks.map(tick => clock(tick).slice(0, max - min < 240 ? 8 : 5));
};

// Few values are small, so an axis has more digits than a table.
const tick = format => format === figure ? value => value >= 10 ? figure(value) : String(+value.toFixed(2)) : format;

const widthIn = panel => {
  const { paddingLeft, paddingRight } = getComputedStyle(panel);
  return Math.max(200, panel.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
};

const draw = (panel, [what, , format], names) => {
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false } };
  const line = (name, at) => ({
    label: name, stroke: COLOURS[at % COLOURS.length], width: 1.5, points: { show: false }, spanGaps: false,
    value: (_, value) => value === null || value === undefined ? NOTHING : format(value),
  });
  const chart = new uPlot({
    // The last label of the time axis needs room beside its tick.
    width: widthIn(panel), height: 190, padding: [null, 26, null, null],
    cursor: { sync: { key: "time" }, y: false, drag: { x: false, y: false } },
    legend: { markers: { width: 2 } },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] } },
    axes: [
      { ...axis, values: clocks, size: 28 },
      { ...axis, values: (_, ticks) => ticks.map(tick(format)), size: 58 },
    ],
    series: [{ label: "time", value: (_, value) => value ? clock(value) : NOTHING }, ...names.map(line)],
  }, [[], ...names.map(() => [])], panel);
  return { chart, panel, what };
};

// Charts beside each other, with the same lines.
class Charts {
  constructor(box, kinds, noun) {
    Object.assign(this, { box, kinds, noun, charts: [], names: [], drawn: "" });
    this.resizing = new ResizeObserver(() => this.charts.forEach(({ chart, panel }) => {
      const width = widthIn(panel);
      if (chart.width !== width) chart.setSize({ width, height: 190 });
    }));
    this.resizing.observe(box);
  }

  // The colour of the line with this name, if there is one.
  colourOf(name) {
    const at = this.names.indexOf(name);
    return at < 0 ? "transparent" : COLOURS[at % COLOURS.length];
  }

  // Shows these lists of values by name.
  show(series) {
    // Which ones are the busiest is decided anew only when some come or go, so that lines keep their colours.
    const present = [...series.keys()].sort().join("\n") + matchMedia("(prefers-color-scheme: dark)").matches;
    if (present !== this.drawn) {
      this.drawn = present;
      this.names = busiest(series);
      this.redraw(series.size - this.names.length);
    }
    if (!past.at.length) return;
    const seconds = past.at.map(at => at / 1000);
    const end = seconds[seconds.length - 1];
    // A history that has just begun fills its chart, from a minute on.
    const start = Math.max(end - MINUTES * 60, Math.min(seconds[0], end - 60));
    for (const { chart, what } of this.charts) {
      chart.batch(() => {
        chart.setData([seconds, ...this.names.map(name => series.get(name)[what])]);
        chart.setScale("x", { min: start, max: end });
      });
      // Without a cursor the legend has the last values.
      if (!(chart.cursor.left >= 0)) chart.setLegend({ idx: past.at.length - 1 });
    }
  }

  redraw(left) {
    this.clear();
    // All panels come first: how wide one is depends on how many there are.
    const panel = ([, title]) => this.box.appendChild(make("section", "panel", "", make("h3", "", title)));
    const panels = this.names.length ? this.kinds.map(panel) : [];
    this.charts = panels.map((one, at) => draw(one, this.kinds[at], this.names));
    const words = `${plural(left, `more ${this.noun}`)} not drawn: only the busiest ${LINES_MAX} are.`;
    if (left > 0) this.box.append(make("p", "soft note", words));
  }

  clear() {
    this.charts.forEach(({ chart }) => chart.destroy());
    this.charts = [];
    this.box.replaceChildren();
  }

  end() {
    this.resizing.disconnect();
    this.clear();
  }
}

// The names to draw: all, or the busiest, in their order.
const busiest = series => {
  const requests = ([, values]) => values.requests.reduce((sum, value) => sum + (value ?? 0), 0);
  const all = [...series];
  const chosen = all.length > LINES_MAX ? all.sort((a, b) => requests(b) - requests(a)).slice(0, LINES_MAX) : all;
  return chosen.map(([name]) => name).sort();
};

const charts = { pools: new Charts(byId("charts"), POOL_CHARTS, "pool"), endpoints: new Map() };

const showCharts = () => {
  charts.pools.show(past.pools);
  const pools = byId("pools").byKey;
  for (const [name, ended] of charts.endpoints) {
    if (pools.has(name) && charts.pools.names.includes(name)) continue;
    ended.end();
    charts.endpoints.delete(name);
  }
  for (const name of charts.pools.names) {
    const node = pools.get(name);
    if (!charts.endpoints.has(name)) {
      charts.endpoints.set(name, new Charts(node.querySelector(".charts"), ENDPOINT_CHARTS, "endpoint"));
    }
    const ofPool = charts.endpoints.get(name);
    ofPool.show(past.pools.get(name).endpoints);
    for (const [address, row] of node.querySelector("tbody").byKey) {
      row.querySelector(".address").style.setProperty("--trace", ofPool.colourOf(address));
    }
  }
};
