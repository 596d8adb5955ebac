#!/usr/bin/env python3
"""A replica that sends and swallows any number of bytes without keeping them; big.py runs it as a process of its own.

GET /SIZE    responds with SIZE bytes
POST /       discards the body, responds with the number of bytes that came
GET /        responds with `ok` (the health check)
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading

CHUNK = 1 << 20


def send_zeros(sock: socket.socket, size: int) -> None:
    """`size` zero bytes, by sendfile from one small file that stays in the page cache."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(16 * CHUNK))
        file.flush()
        while size:
            offset = 0
            while size and offset < 16 * CHUNK:
                sent = os.sendfile(sock.fileno(), file.fileno(), offset, min(16 * CHUNK - offset, size))
                offset, size = offset + sent, size - sent


def swallow(sock: socket.socket, size: int, buffer=bytearray(CHUNK)) -> int:
    """Takes up to `size` bytes off the socket; MSG_TRUNC drops them in the kernel. Less than `size` = the peer
    closed."""
    left = size
    while left:
        # The kernel does not write to the buffer, so every thread may use the same one.
        got = sock.recv_into(buffer, min(left, CHUNK), socket.MSG_TRUNC)
        if not got:
            break
        left -= got
    return size - left


def read_head(sock: socket.socket) -> tuple[list[str], dict[str, str], bytes] | None:
    """The words of the first line, the fields, and the bytes of the body that came with them; None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    return first.split(), {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}, rest


def serve(sock: socket.socket) -> None:
    try:
        while request := read_head(sock):
            (method, path, *_), fields, rest = request
            if method == "POST":
                size = int(fields["content-length"])
                got = len(rest) + swallow(sock, size - len(rest))
                answer = str(got).encode()
            elif path != "/":
                size = int(path[1:])
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                send_zeros(sock, size)
                continue
            else:
                answer = b"ok"
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
    except OSError:
        pass
    finally:
        sock.close()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
