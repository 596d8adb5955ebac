// Proves with Node's undici that HTTP/1.1 and, with --h2, HTTP/2 work: bodies that stream both ways at once, trailers, an abort that
// reaches the replica.
//
//     node client_node.mjs --base https://localhost:8443 --ca ca.pem --h2
//     node client_node.mjs --base http://localhost:8080 --h2                  # prior knowledge
//
// Behind the base there are replicas of replica.py. `npm ci` in this directory installs what this needs.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import diagnostics from "node:diagnostics_channel";
import http2 from "node:http2";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, H2CClient } from "undici";

import { LIMIT_MS, ca, h2, origin, protocol, run } from "./checks.mjs";

const connected = []; // one entry per connection that undici opened: "h1" or "h2"
diagnostics.subscribe("undici:client:connected", ({ connectParams }) => connected.push(connectParams.version ?? "h1"));

function dispatcher() {
  if (h2 && protocol === "http:") return new H2CClient(origin);
  return new Agent({ connections: 1, allowH2: h2, connect: { ca } });
}

const client = dispatcher();
const request = (path, more) => client.request({ origin, path, method: "GET", headersTimeout: LIMIT_MS, ...more });
const text = async (path, more) => (await request(path, more)).body.text();
const sha256 = (...pieces) => pieces.reduce((hash, piece) => hash.update(piece), createHash("sha256")).digest("hex");

/** n random pieces of 64 KiB, and the hash that they go through. */
function random(n) {
  const hash = createHash("sha256");
  function* pieces() {
    for (let i = 0; i < n; i++) {
      const piece = randomBytes(64 * 1024);
      hash.update(piece);
      yield piece;
    }
  }
  return [Readable.from(pieces()), hash];
}

/** POST /echo: the answer's body, and a function for its trailers. undici drops those of HTTP/2; there node:http2 asks. */
async function echo(body) {
  if (!h2) {
    const answer = await request("/echo", { method: "POST", body, headers: { te: "trailers" } });
    return [answer.body, () => answer.trailers];
  }
  const session = http2.connect(origin, { ca }).on("error", () => {}); // its streams fail with the same error
  const stream = session.request({ ":method": "POST", ":path": "/echo", te: "trailers" }, { endStream: false });
  let trailers = {};
  stream.on("trailers", (fields) => (trailers = fields)).on("close", () => session.close());
  Readable.from(body).pipe(stream);
  return [stream, () => trailers];
}

await run({
  async "get and post"() {
    assert.match(await text("/whoami"), /./);
    const body = randomBytes(1 << 20);
    assert.equal(await text("/digest", { method: "POST", body }), sha256(body));
    assert.equal((await request("/nothing-here")).statusCode, 404);
  },

  async "version is the one asked for"() {
    assert.equal(connected.at(-1), h2 ? "h2" : "h1");
  },

  async "upload that streams"() {
    const [body, sent] = random(512);
    assert.equal(await text("/digest", { method: "POST", body }), sent.digest("hex"));
  },

  async "32 MiB both ways at once, and the trailer"() {
    const [body, sent] = random(512);
    const received = createHash("sha256");
    const [answer, trailers] = await echo(body);
    for await (const piece of answer) received.update(piece);
    const digest = received.digest("hex");
    assert.equal(digest, sent.digest("hex"));
    assert.equal(trailers()["x-sha256"], digest, "the trailer x-sha256");
  },

  async "each piece comes back before the next is sent"() {
    let back = "";
    async function* pieces() {
      for (let i = 0; i < 20; i++) {
        yield Buffer.from(`piece ${i};`);
        while (!back.endsWith(`piece ${i};`)) await sleep(1);
      }
    }
    const [answer] = await echo(pieces());
    for await (const piece of answer) back += piece;
    assert.equal(back.split(";").length, 21);
  },

  async "an abort reaches the replica, and the next request works"() {
    const [key, abort, before] = [randomUUID(), new AbortController(), connected.length];
    const answer = await request(`/bytes?n=${1 << 30}&key=${key}`, { signal: abort.signal });
    let bytes = 0;
    await assert.rejects(async () => {
      for await (const piece of answer.body) if ((bytes += piece.length) > 1 << 20) abort.abort();
    }, /abort/i);
    for (const end = Date.now() + 10_000; (await text(`/aborted?key=${key}`)) !== "yes"; await sleep(50))
      assert.ok(Date.now() < end, "the replica goes on sending");
    if (h2) assert.equal(connected.length, before, "an abort must not cost an h2 connection");
  },

  async "50 at once"() {
    const bodies = Array.from({ length: 50 }, (_, i) => randomBytes(1000 * i));
    const digests = await Promise.all(bodies.map((body) => text("/digest", { method: "POST", body })));
    assert.deepEqual(digests, bodies.map((body) => sha256(body)));
  },
});
