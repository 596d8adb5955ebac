"""Replicas that respond in a known way, and record what they get."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The field by which a request is known again.
MARK = "X-Beside"
# What no client of these tests may make a replica read.
BODY_MAX = 4 << 20


class Received:
    """What all replicas got, by the mark of the request."""

    def __init__(self) -> None:
        self.by_mark: dict[str, list[dict]] = {}
        self.lock = threading.Lock()

    def add(self, mark: str, record: dict) -> None:
        with self.lock:
            self.by_mark.setdefault(mark, []).append(record)

    def of(self, mark: str) -> list[dict]:
        with self.lock:
            return list(self.by_mark.get(mark, []))


class Replica(ThreadingHTTPServer):
    """One replica of the pool with this number, on a free port of loopback."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, pool: str, received: Received) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pool, self.received = pool, received
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A proxy may close a connection as it likes."""


class Handler(BaseHTTPRequestHandler):
    """Responds to any method: 200, or what `/status/NNN` in the path says."""

    protocol_version = "HTTP/1.1"
    timeout = 20

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.respond
        raise AttributeError(name)

    def respond(self) -> None:
        body = self.body()
        fields = [(name.lower(), value) for name, value in self.headers.items()]
        record = {"pool": self.server.pool, "method": self.command, "target": self.path, "body": len(body)}
        self.server.received.add(self.headers.get(MARK, ""), {**record, "fields": fields})
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.tunnel()
            return
        asked = re.search(r"/status/(\d{3})", self.path)
        status = int(asked.group(1)) if asked else 200
        has_content = status not in (204, 304)
        text = f"{self.server.pool} {self.command} {self.path}\n".encode() if has_content else b""
        self.send_response(status)
        for name, value in [("X-App", "yes"), ("X-Powered-By", "replica"), ("Set-Cookie", "a=1; Path=/")]:
            self.send_header(name, value)
        self.send_header("Set-Cookie", "b=2; Path=/")
        if status in (301, 302, 303, 307, 308):
            self.send_header("Location", "/moved")
        if has_content:
            self.send_header("Content-Type", "text/x-replica")
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def tunnel(self) -> None:
        """Sends back the first five bytes that come through."""
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        self.wfile.write(self.rfile.read(5))
        self.close_connection = True

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), BODY_MAX))
        body = b""
        while size := int(self.rfile.readline(64).split(b";")[0], 16):
            body += self.rfile.read(min(size, BODY_MAX))
            self.rfile.readline(64)
        self.rfile.readline(64)
        return body

    def log_message(self, format: str, *args: object) -> None:
        """What came is in `Received`."""
