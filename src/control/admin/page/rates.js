// Counters become rates here: the server tells totals, and the page looks at how they grow.

// A rate is that of the last seconds.
const RATE_MS = 5000;
const SPAN_LEAST_MS = 500;

class Rates {
  constructor() { this.seen = new Map(); }

  // The growth per second of the counter with this key, whose total is `total` at `at`; null at first.
  of(key, total, at) {
    const looks = this.seen.get(key) ?? [];
    // After a restart of the proxy, counters begin anew.
    if (looks.length && total < looks[looks.length - 1][1]) looks.length = 0;
    looks.push([at, total]);
    while (looks.length > 2 && at - looks[0][0] > RATE_MS) looks.shift();
    this.seen.set(key, looks);
    const [[first, before]] = looks;
    // Two looks may follow each other closely, which says nothing about a second.
    return at - first >= SPAN_LEAST_MS ? (total - before) * 1000 / (at - first) : null;
  }

  // Forgets counters that were not looked at for a while: their endpoint is gone.
  forget(at) {
    for (const [key, looks] of this.seen) if (at - looks[looks.length - 1][0] > 60000) this.seen.delete(key);
  }
}

const rates = new Rates();

// The rates of an endpoint, and its share of what its pool gets.
const measure = (pool, at) => {
  const rows = pool.endpoints.map(endpoint => {
    const rate = what => rates.of(`${pool.name}\n${endpoint.address}\n${what}`, endpoint[what], at);
    return { requests: rate("requests"), failures: rate("failures"), errors: rate("responses_5xx") };
  });
  const all = rows.reduce((sum, row) => sum + (row.requests ?? 0), 0);
  return rows.map(row => ({ ...row, share: all > 0 ? row.requests / all : null }));
};
