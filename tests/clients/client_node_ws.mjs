// Proves with Node's ws that WebSocket works: by HTTP/1.1 Upgrade and, with --h2, by extended CONNECT (RFC 8441), which ws speaks on a
// stream of node:http2.
//
//     node client_node_ws.mjs --base https://localhost:8443 --ca ca.pem --h2
//     node client_node_ws.mjs --base http://localhost:8080 --h2               # prior knowledge
//
// Behind the base there are replicas of replica.py. `npm ci` in this directory installs what this needs.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import WebSocket from "ws";

import { ca, h2, origin, run } from "./checks.mjs";

/** A WebSocket: over HTTP/1.1 as ws makes it, over HTTP/2 on a stream that an extended CONNECT opened. */
async function websocket() {
  if (!h2) {
    const ws = new WebSocket(origin.replace(/^http/, "ws") + "/ws", { ca });
    await once(ws, "open");
    return [ws, () => {}];
  }
  const session = http2.connect(origin, { ca });
  const [settings] = await once(session, "remoteSettings");
  assert.equal(settings.enableConnectProtocol, true, "SETTINGS_ENABLE_CONNECT_PROTOCOL");
  return [await onStream(session), () => session.close()];
}

function connect(session, path) {
  const head = { ":method": "CONNECT", ":protocol": "websocket", ":path": path, "sec-websocket-version": "13", origin };
  return session.request(head, { endStream: false });
}

async function onStream(session) {
  const stream = connect(session, "/ws");
  const [head] = await once(stream, "response");
  assert.equal(head[":status"], 200);
  const ws = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 10_000 });
  ws._isServer = false; // ws has no public way to be a client on a stream of another's making
  stream.setNoDelay = () => {};
  ws.setSocket(stream, Buffer.alloc(0), { allowSynchronousEvents: true, maxPayload: 16 << 20 });
  return ws;
}

async function talk(conversation) {
  const [ws, end] = await websocket();
  await conversation(ws);
  if (ws.readyState !== WebSocket.CLOSED) {
    ws.close(4001, "enough");
    const [code] = await once(ws, "close");
    assert.equal(code, 4001, "the close code that came back");
  }
  end();
}

await run({
  "text and binary": () =>
    talk(async (ws) => {
      for (const message of ["hello", "\u2603".repeat(1000), "", randomBytes(300), randomBytes(1 << 20)]) {
        ws.send(message);
        const [data, binary] = await once(ws, "message");
        assert.equal(binary, typeof message !== "string");
        assert.ok(Buffer.from(message).equals(data), "came back changed");
      }
    }),

  "ping and pong": () =>
    talk(async (ws) => {
      ws.ping("x");
      assert.equal(`${await once(ws, "pong")}`, "x");
    }),

  "close from the server": () =>
    talk(async (ws) => {
      ws.send("close 4002 go away");
      const [code, reason] = await once(ws, "close");
      assert.deepEqual([code, `${reason}`], [4002, "go away"]);
    }),

  async "an answer that is no WebSocket"() {
    if (h2) {
      const session = http2.connect(origin, { ca });
      await once(session, "remoteSettings");
      const [head] = await once(connect(session, "/nothing-here"), "response");
      assert.equal(head[":status"], 404);
      return session.destroy();
    }
    const ws = new WebSocket(origin.replace(/^http/, "ws") + "/nothing-here", { ca });
    const [, answer] = await once(ws, "unexpected-response");
    assert.equal(answer.statusCode, 404);
    answer.destroy();
  },

  async "many streams on one connection"() {
    if (!h2) return "only over h2";
    const session = http2.connect(origin, { ca });
    await once(session, "remoteSettings");
    const all = await Promise.all(Array.from({ length: 20 }, () => onStream(session)));
    for (const [i, ws] of all.entries()) ws.send(`hello ${i}`);
    const answers = await Promise.all(all.map((ws) => once(ws, "message")));
    assert.deepEqual(answers.map(([data]) => `${data}`), all.map((_, i) => `hello ${i}`));
    for (const ws of all) ws.close();
    session.close();
  },
});
