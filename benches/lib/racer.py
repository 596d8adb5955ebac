#!/usr/bin/env python3
"""Exact clients for the race between a request and a close; race.py runs this as a process of its own.

    racer.py PORT CONNECTIONS PAUSE_S LONG_PAUSE_S SEED

Each connection sends POSTs one after the other, with a pause before each: mostly around PAUSE_S, one of ten around
LONG_PAUSE_S. Right before a request is sent the socket is asked whether it was closed: then the request goes out on a
new connection, as with every careful client. So a request is lost only if the close came while it was on its way.
Prints "ready" when all connections are open. A line on stdin ends the run: no request is begun any more, those that are
under way are waited for, and one line of JSON says what became of all of them.

It is one thread, because a switch to another one between the look and the send would be a race of its own.
"""

import heapq
import json
import random
import resource
import select
import socket
import sys
import time
from collections import Counter

REQUEST = b"POST / HTTP/1.1\r\nHost: race.test\r\nContent-Length: 4\r\n\r\nrace"
DEADLINE_S = 10  # of a response, and of a connection that is refused
AGAIN_S = 0.01  # until a refused connection is tried again
LONG_SHARE = 0.1


class Racer:
    """One connection."""

    def __init__(self, fleet: "Fleet") -> None:
        self.fleet, self.sock, self.fresh = fleet, None, True
        self.sent_at = self.refused_since = 0.0
        self.response = b""

    def open(self) -> bool:
        """Connects; False if nobody listens now, which loses nothing: the client knows that nothing was sent."""
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(("127.0.0.1", self.fleet.port))
        except OSError:
            sock.close()
            self.fleet.counts["refused connections"] += 1
            return False
        sock.setblocking(False)
        self.sock, self.fresh, self.refused_since = sock, True, 0.0
        self.fleet.by_fd[sock.fileno()] = self
        return True

    def close(self) -> None:
        if self.sent_at:
            self.fleet.epoll.unregister(self.sock)
        del self.fleet.by_fd[self.sock.fileno()]
        self.sock.close()
        self.sock, self.sent_at = None, 0.0

    def is_closed(self) -> bool:
        """The look: whether an end, a reset, or a response that nobody has asked for has arrived."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def begin(self) -> None:
        """Looks, and sends."""
        if self.sock and self.is_closed():
            self.fleet.counts["closes seen before sending"] += 1
            self.close()
        if not self.sock and not self.open():
            now = time.monotonic()
            self.refused_since = self.refused_since or now
            if now - self.refused_since > DEADLINE_S:
                return self.lost("never accepted")
            return self.fleet.later(self, AGAIN_S)
        try:
            self.sock.send(REQUEST)
        except OSError as error:
            return self.lost(type(error).__name__)
        self.sent_at, self.response = time.monotonic(), b""
        self.fleet.counts["requests"] += 1
        self.fleet.epoll.register(self.sock, select.EPOLLIN)

    def hear(self) -> None:
        try:
            piece = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            return self.lost(type(error).__name__)
        if not piece:
            return self.lost("closed")
        self.response += piece
        head, end, body = self.response.partition(b"\r\n\r\n")
        if end and len(body) >= length(head):
            self.take(head.lower())

    def take(self, head: bytes) -> None:
        """A whole response."""
        if not head.startswith(b"http/1.1 200 "):
            self.fleet.counts["failed"] += 1
            self.fleet.kinds[head.splitlines()[0].decode("latin-1")] += 1
        self.fresh = False
        if b"\r\nconnection: close" in head:
            self.fleet.counts["closes announced"] += 1
            self.close()
        else:
            self.fleet.epoll.unregister(self.sock)
            self.sent_at = 0.0
        self.fleet.later(self, self.fleet.pause())

    def lost(self, how: str) -> None:
        """A request was sent on a connection that looked open, and has no response."""
        where = "new" if self.fresh else "kept"
        self.fleet.counts[f"lost on {where} connections"] += 1
        self.fleet.kinds[f"{where} connection: {how}"] += 1
        if self.sock:
            self.close()
        self.fleet.later(self, self.fleet.pause())


class Fleet:
    """All connections, and what became of their requests."""

    def __init__(self, port: str, count: str, pause_s: str, long_pause_s: str, seed: str) -> None:
        self.port, self.pause_s, self.long_pause_s = int(port), float(pause_s), float(long_pause_s)
        self.dice = random.Random(int(seed))
        self.epoll, self.by_fd, self.due = select.epoll(), {}, []
        self.counts, self.kinds = Counter(), Counter()
        self.racers = [Racer(self) for _ in range(int(count))]
        for number, racer in enumerate(self.racers):
            if not racer.open():
                raise SystemExit("nobody listens")
            self.later(racer, self.pause() * number / len(self.racers))

    def pause(self) -> float:
        mean = self.long_pause_s if self.dice.random() < LONG_SHARE else self.pause_s
        return mean * self.dice.uniform(0.5, 1.5)

    def later(self, racer: Racer, seconds: float) -> None:
        heapq.heappush(self.due, (time.monotonic() + seconds, id(racer), racer))

    def turn(self, sending: bool) -> None:
        """Sends what is due, one by one, and hears what came in between."""
        now = time.monotonic()
        while sending and self.due and self.due[0][0] <= now:
            heapq.heappop(self.due)[2].begin()
        wait = min(0.05, max(0.0, self.due[0][0] - time.monotonic())) if sending and self.due else 0.05
        for fd, _ in self.epoll.poll(wait, 64):
            if racer := self.by_fd.get(fd):
                racer.hear()

    def waiting(self) -> list[Racer]:
        return [racer for racer in self.racers if racer.sent_at]

    def run(self) -> None:
        stdin, looked = select.poll(), 0.0
        stdin.register(sys.stdin, select.POLLIN)
        while True:
            self.turn(sending=True)
            if time.monotonic() - looked < 0.1:
                continue
            looked = time.monotonic()
            for racer in self.waiting():
                if looked - racer.sent_at > DEADLINE_S:
                    racer.lost("no response")
            if stdin.poll(0):
                break
        end = time.monotonic() + DEADLINE_S
        while self.waiting() and time.monotonic() < end:
            self.turn(sending=False)
        for racer in self.waiting():
            racer.lost("no response")


def length(head: bytes) -> int:
    """The length of the body of a response; proxies here pass on what the replica says."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def main(*words: str) -> None:
    fleet = Fleet(*words)
    print("ready", flush=True)
    fleet.run()
    print(json.dumps({"counts": fleet.counts, "kinds": fleet.kinds}), flush=True)


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    main(*sys.argv[1:])
