#!/usr/bin/env python3
"""Hostile clients; benches/hostile.py runs this as a process of its own.

    hostile.py KIND PORT COUNT SECONDS

Prints "ready" when COUNT connections are open, and SECONDS later one line of JSON: how many connections there were,
which responses they got, how many were closed, and the most bytes that one of them could send. A client whose
connection is closed opens another. The sends are spread evenly over time, one by one, because bursts would be a load
of their own.
"""

import json
import resource
import select
import socket
import sys
import time
from collections import Counter

POST = b"POST /upload HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
# What is sent once, what is sent again and again, and how often per second each client sends.
KINDS = {
    "slow-head": (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"a", 1),
    "slow-body": (POST + b"Content-Length: 1000000\r\n\r\n", b"a", 1),
    "slow-reader": (b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n", b"", 1),
    "idle": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"", 0),
    "endless-head": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-Header: " + b"a" * 1012 + b"\r\n", 20),
    "endless-extension": (CHUNKED + b"1;", b"a" * 1024, 20),
    "endless-trailers": (CHUNKED + b"0\r\n", b"X-Trailer: " + b"a" * 1011 + b"\r\n", 20),
}
# HTTP/2: a client sends only what it must, then starts and resets this many streams at once.
H2_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
KINDS["rapid-reset"] = (H2_OPENING, b"resets", 200)
RESETS_AT_ONCE = 100
CONNECTS_PER_S = 2000
REOPENED_PER_S = 20  # more would take the core from the good client


def resets(first: int) -> bytes:
    """Frames that start streams from `first` on with GET / and reset each at once."""
    head = bytes([0x82, 0x86, 0x84, 0x41, 1]) + b"x"
    out = b""
    for stream in range(first, first + 2 * RESETS_AT_ONCE, 2):
        number = stream.to_bytes(4, "big")
        out += len(head).to_bytes(3, "big") + b"\x01\x05" + number + head
        out += b"\x00\x00\x04\x03\x00" + number + b"\x00\x00\x00\x08"
    return out


class Attack:
    def __init__(self, kind: str, port: int, count: int) -> None:
        self.kind, self.port, self.count = kind, port, count
        self.opening, self.piece, self.rate = KINDS[kind]
        self.epoll = select.epoll()
        self.sockets: list = [None] * count
        self.by_fd: dict[int, int] = {}
        self.sent = [0] * count
        self.gone: list[int] = []
        self.connections = self.closed = self.most = 0
        self.answers = Counter()

    def open(self, number: int) -> None:
        """Opens a connection. Source addresses differ, because one address has too few ports."""
        sock = socket.socket()
        if self.kind == "slow-reader":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((f"127.0.0.{2 + number % 8}", 0))
        sock.connect(("127.0.0.1", self.port))
        sock.sendall(self.opening)
        sock.setblocking(False)
        self.sockets[number], self.by_fd[sock.fileno()], self.sent[number] = sock, number, len(self.opening)
        self.connections += 1
        if self.kind != "slow-reader":
            self.epoll.register(sock, select.EPOLLIN)

    def open_all(self) -> None:
        began = time.monotonic()
        for number in range(self.count):
            self.open(number)
            self.poll(0)
            time.sleep(max(0.0, began + number / CONNECTS_PER_S - time.monotonic()))

    def poll(self, seconds: float) -> None:
        for fd, _ in self.epoll.poll(seconds, 256):
            self.hear(self.by_fd[fd])

    def hear(self, number: int) -> None:
        sock = self.sockets[number]
        try:
            got = sock.recv(1 if self.kind == "slow-reader" else 4096)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if got:
            self.answers[
                "frames" if self.kind == "rapid-reset" else got[9:12].decode() if len(got) > 12 else "a byte"
            ] += 1
            return
        del self.by_fd[sock.fileno()]
        sock.close()
        self.sockets[number] = None
        self.gone.append(number)
        self.closed += 1

    def send(self, number: int) -> None:
        sock = self.sockets[number]
        if sock is None:
            return
        if not self.piece:
            return self.hear(number)
        piece = self.piece
        if self.kind == "rapid-reset":
            # Each piece has the same length, so the number of streams follows from what was sent.
            done = (self.sent[number] - len(self.opening)) // len(resets(1))
            piece = resets(1 + 2 * RESETS_AT_ONCE * done)
        try:
            self.sent[number] += sock.send(piece)
        except OSError:
            return  # full, or closed: poll tells
        self.most = max(self.most, self.sent[number])

    def run(self, seconds: float) -> None:
        began, done, reopened = time.monotonic(), 0, 0
        while (elapsed := time.monotonic() - began) < seconds:
            due = int(elapsed * self.rate * self.count)
            for number in range(done, due):
                self.send(number % self.count)
            done = due
            while self.gone and reopened < elapsed * REOPENED_PER_S:
                self.open(self.gone.pop(0))
                reopened += 1
            self.poll(0.005)


def main(kind: str, port: str, count: str, seconds: str) -> None:
    attack = Attack(kind, int(port), int(count))
    attack.open_all()
    print("ready", flush=True)
    attack.run(float(seconds))
    print(
        json.dumps(
            {"connections": attack.connections, "answers": attack.answers, "closed": attack.closed, "most": attack.most}
        )
    )


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    main(*sys.argv[1:])
