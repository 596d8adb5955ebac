"""A client of WebSocket (RFC 6455) with text messages, as small as it can be."""

from __future__ import annotations

import base64
import os
import re
import socket
import struct
import time

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
OPEN_S = 10


class WebSocket:
    """An open connection. Raises `ConnectionError` if the server does not accept it."""

    def __init__(self, port: int, host: str, target: str, cookies: dict[str, str]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), OPEN_S)
        self.data = b""
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        head = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
        head += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}"]
        head += [f"Cookie: {cookie}"] if cookie else []
        self.socket.sendall("\r\n".join([*head, "", ""]).encode())
        while b"\r\n\r\n" not in self.data:
            self.more()
        response, _, self.data = self.data.partition(b"\r\n\r\n")
        if not response.startswith(b"HTTP/1.1 101 "):
            self.close()
            raise ConnectionError(response.split(b"\r\n")[0].decode(errors="replace"))

    def close(self) -> None:
        self.socket.close()

    def more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("the WebSocket was closed")
        self.data += piece

    def send(self, text: str, kind: int = TEXT) -> None:
        data, mask = text.encode(), os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack("!BH", 0x80 | 126, len(data))
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
        self.socket.sendall(bytes([0x80 | kind]) + length + mask + masked)

    def take(self, count: int) -> bytes:
        while len(self.data) < count:
            self.more()
        piece, self.data = self.data[:count], self.data[count:]
        return piece

    def message(self) -> tuple[int, str]:
        """The next message, put together from its frames; control frames come in between."""
        text = b""
        while True:
            first, second = self.take(2)
            length = second & 0x7F
            if length > 125:
                length = int.from_bytes(self.take(2 if length == 126 else 8))
            payload = self.take(length)
            if first & 0x0F >= CLOSE:
                return first & 0x0F, payload.decode(errors="replace")
            text += payload
            if first & 0x80:
                return TEXT, text.decode(errors="replace")

    def receive(self, wanted: re.Pattern, seconds: float) -> list[str] | None:
        """Waits for a message that matches. Returns None when it came, else the messages that came instead."""
        came, deadline = [], time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                kind, text = self.message()
                if kind == PING:
                    self.send(text, PONG)
                elif kind == CLOSE:
                    return [*came, "(closed)"]
                elif kind == TEXT:
                    if wanted.search(text):
                        return None
                    came.append(text)
        except TimeoutError:
            pass
        except ConnectionError:
            came.append("(closed)")
        return came
