"""As much of HTTP/2 as the measurements need: frames, and heads without compression."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, RST_STREAM = 0, 1, 4, 6, 7, 3
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WINDOW = (1 << 31) - 1  # so wide that no more need be granted
STATUS_200 = b"\x88"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def opening() -> bytes:
    """SETTINGS with the widest window for streams, and the same for the connection."""
    settings = struct.pack(">HIHI", 4, WINDOW, 3, 10_000)
    return frame(SETTINGS, 0, 0, settings) + frame(8, 0, 0, struct.pack(">I", WINDOW - 65_535))


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def request(method: str, scheme: str, path: str, grpc: bool = False) -> bytes:
    """A head for 127.0.0.1, of literals without indexing."""
    block = bytes([0x82 if method == "GET" else 0x83, 0x87 if scheme == "https" else 0x86])
    block += b"\x04" + text(path) + b"\x01" + text("127.0.0.1")
    return block + (grpc_type() + b"\x00" + text("te") + text("trailers") if grpc else b"")


def grpc_type() -> bytes:
    return b"\x0f\x10" + text("application/grpc")


def grpc_status_ok() -> bytes:
    return b"\x00" + text("grpc-status") + text("0")


class Reader:
    """Cuts what comes into frames."""

    def __init__(self) -> None:
        self.rest = b""

    def frames(self, piece: bytes) -> list[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of each frame that is whole."""
        whole, self.rest = self.rest + piece, b""
        found, at = [], 0
        while len(whole) - at >= 9:
            length = int.from_bytes(whole[at : at + 3], "big")
            if len(whole) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", whole, at + 3)
            found.append((kind, flags, stream & WINDOW, whole[at + 9 : at + 9 + length]))
            at += 9 + length
        self.rest = whole[at:]
        return found


def reply_to(kind: int, flags: int, payload: bytes) -> bytes:
    """What a peer must say to SETTINGS and PING."""
    if kind == SETTINGS and not flags & ACK:
        return frame(SETTINGS, ACK, 0)
    if kind == PING and not flags & ACK:
        return frame(PING, ACK, 0, payload)
    return b""
