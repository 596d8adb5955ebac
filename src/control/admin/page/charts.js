// The last ten minutes of each pool.

const MINUTES = 10;
const SAMPLES_MAX = MINUTES * 60;
// More lines than that cannot be told apart.
const LINES_MAX = 8;
const COLOURS = ["#2f6fde", "#d9480f", "#1a9f5b", "#9b59d0", "#b8860b", "#0a8f9c", "#d6336c", "#7c8b9a"];
const CHARTS = [
  ["requests", "Requests per second, by pool", figure],
  ["failed", "Failed per second (5xx, cut)", figure],
  ["p99_ms", "p99 of the duration, over 5 s", milliseconds],
];

const past = { at: [], pools: new Map(), charts: [], drawn: "" };

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Takes in what the server has kept. The values of a younger pool begin later; all end together.
const remember = history => {
  past.at = history.at;
  past.pools = new Map(Object.entries(history.pools).map(([name, values]) => {
    const padded = list => [...Array(past.at.length - list.length).fill(null), ...list];
    return [name, Object.fromEntries(CHARTS.map(([what]) => [what, padded(values[what])]))];
  }));
};

// Adds the last second, unless it is known already.
const extend = state => {
  if (!state.sampled_at || state.sampled_at <= (past.at[past.at.length - 1] ?? 0)) return;
  past.at.push(state.sampled_at);
  for (const name of Object.keys(state.latest)) {
    const absent = () => Array(past.at.length - 1).fill(null);
    if (!past.pools.has(name)) past.pools.set(name, Object.fromEntries(CHARTS.map(([what]) => [what, absent()])));
  }
  for (const [name, values] of past.pools) {
    if (!state.pools.some(pool => pool.name === name)) past.pools.delete(name);
    else for (const [what] of CHARTS) values[what].push(state.latest[name]?.[what] ?? null);
  }
  const beyond = past.at.length - SAMPLES_MAX;
  if (beyond > 0) {
    const lists = [...past.pools.values()].flatMap(values => Object.values(values));
    for (const list of [past.at, ...lists]) list.splice(0, beyond);
  }
};

const clock = seconds => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

// Seconds are shown only where minutes would repeat.
const clocks = (chart, ticks) => {
  const { min, max } = chart.scales.x;
  return ticks.map(tick => clock(tick).slice(0, max - min < 240 ? 8 : 5));
};

// Few values are small, so an axis has more digits than a table.
const tick = format => format === figure ? value => value >= 10 ? figure(value) : String(+value.toFixed(2)) : format;

const draw = (panel, [what, , format], names) => {
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false } };
  const line = (name, at) => ({
    label: name, stroke: COLOURS[at % COLOURS.length], width: 1.5, points: { show: false }, spanGaps: false,
    value: (_, value) => value === null || value === undefined ? NOTHING : format(value),
  });
  const chart = new uPlot({
    width: Math.max(200, panel.clientWidth - 26), height: 190,
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

const redraw = names => {
  const box = byId("charts");
  past.charts.forEach(({ chart }) => chart.destroy());
  box.replaceChildren();
  // All panels come first: how wide one is depends on how many there are.
  const panels = CHARTS.map(([, title]) => box.appendChild(make("section", "panel", "", make("h2", "", title))));
  past.charts = CHARTS.map((one, at) => draw(panels[at], one, names));
  const left = past.pools.size - names.length;
  const words = `${plural(left, "more pool")} not drawn: only the busiest ${LINES_MAX} are.`;
  if (left > 0) box.append(make("p", "soft note", words));
};

// The pools to draw: all, or the busiest, in the order of their names.
const busiest = () => {
  const requests = ([, values]) => values.requests.reduce((sum, value) => sum + (value ?? 0), 0);
  const all = [...past.pools];
  const chosen = all.length > LINES_MAX ? all.sort((a, b) => requests(b) - requests(a)).slice(0, LINES_MAX) : all;
  return chosen.map(([name]) => name).sort();
};

const showCharts = () => {
  // Which ones are the busiest is decided anew only when pools come or go, so that lines keep their colours.
  const present = [...past.pools.keys()].sort().join("\n") + matchMedia("(prefers-color-scheme: dark)").matches;
  if (present !== past.drawn) {
    past.drawn = present;
    past.names = busiest();
    redraw(past.names);
  }
  const seconds = past.at.map(at => at / 1000);
  const end = seconds[seconds.length - 1];
  // A history that has just begun fills its chart, from a minute on.
  const start = Math.max(end - MINUTES * 60, Math.min(seconds[0], end - 60));
  for (const { chart, what } of past.charts) {
    chart.batch(() => {
      chart.setData([seconds, ...past.names.map(name => past.pools.get(name)[what])]);
      chart.setScale("x", { min: start, max: end });
    });
    // Without a cursor the legend has the last values.
    if (!(chart.cursor.left >= 0)) chart.setLegend({ idx: past.at.length - 1 });
  }
};

new ResizeObserver(() => {
  for (const { chart, panel } of past.charts) {
    const width = Math.max(200, panel.clientWidth - 26);
    if (chart.width !== width) chart.setSize({ width, height: 190 });
  }
}).observe(byId("charts"));
