// What the Node clients share: their arguments, and one line per check.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

export const LIMIT_MS = 60_000;

const { values } = parseArgs({
  options: { base: { type: "string" }, ca: { type: "string" }, h2: { type: "boolean", default: false } },
});
export const { h2 } = values;
export const { origin, protocol } = new URL(values.base);
export const ca = values.ca && readFileSync(values.ca);

/** Runs {name: async function}, of which one that returns a text has it printed, and ends the program: 0 if all is right. */
export async function run(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    try {
      const late = sleep(LIMIT_MS, undefined, { ref: false }).then(() => assert.fail(`not done after ${LIMIT_MS} ms`));
      const note = await Promise.race([check(), late]);
      console.log(`ok ${name}${note ? ` (${note})` : ""}`);
    } catch (error) {
      failed++;
      console.log(`FAILED ${name}: ${`${error.name}: ${error.message}`.replace(/\s+/g, " ").slice(0, 500)}`);
    }
  }
  process.exit(failed ? 1 : 0);
}
