#!/usr/bin/env python3
"""Looks at the spans that unstick exports, as a collector that reads them with the published definitions of OTLP.

    tests/traces/run.py [--unstick target/debug/unstick]

Starts unstick in front of replicas that note what they hear, and a collector that speaks HTTPS under a name. The
messages are read with the packages of requirements.txt (this script makes a virtual environment in target/traces by
itself), which share nothing with unstick. What is asked of the spans is in the functions whose names begin with
`check_`. Needs Python 3.9 and openssl; whatever it starts, it ends by its pid.

Exit codes: 0 all is as it should be, 1 something is not.
"""

import argparse
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# How long the proxy may take to start, and spans to come.
SOON_S = 60
# How long a slow replica takes.
SLOW_S = 0.3
MS = 1_000_000
# How much later than the client the proxy may notice the end of a response.
LATE_MS = 2000

CONFIG = """
[listen.web]
address = "127.0.0.1:{web}"
trusted_proxies = ["127.0.0.1"]
[admin]
address = "off"
[traces]
endpoint = "https://localhost:{collector}/v1/traces"
ca = "site.pem"
sample = "0%"
service = "shop"
headers = {{ x-key = "${{file:key}}" }}
[[route]]
path = "/retry"
pool = "retry"
[[route]]
path = "/secure"
pool = "secure"
[[route]]
path = "/down"
pool = "down"
[[route]]
path = "/slow"
pool = "small"
[[route]]
path = "/moved"
redirect = {{ to = "/retry" }}
[pool.retry]
backends = ["127.0.0.1:{dead}", "127.0.0.1:{plain}"]
eject = {{ failures = 0 }}
[pool.secure]
protocol = "https"
backends = ["localhost:{secure}"]
tls = {{ ca = "site.pem" }}
[pool.down]
backends = ["127.0.0.1:{dead}"]
[pool.small]
backends = ["127.0.0.1:{plain}"]
max_requests = 1
"""


def in_environment():
    """Goes on in a virtual environment with the packages, which is made once."""
    home = ROOT / "target" / "traces"
    python, mark = home / "bin" / "python3", home / "requirements.txt"
    if Path(sys.prefix) == home:
        return
    wanted = (HERE / "requirements.txt").read_text()
    if not mark.exists() or mark.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        mark.write_text(wanted)
    os.execv(python, [python, __file__, *sys.argv[1:]])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(folder):
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "site.key"]
    about = ["-days", "2", "-subj", "/CN=localhost", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"]
    command = ["openssl", "req", "-x509", *key, *about, "-out", folder / "site.pem"]
    subprocess.run(command, check=True, capture_output=True)


class Server(ThreadingHTTPServer):
    """A server of a handler, on a thread of its own."""

    daemon_threads = True

    def __init__(self, handler, folder=None):
        super().__init__(("127.0.0.1", 0), handler)
        if folder:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "site.pem", folder / "site.key")
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.port, self.seen, self.lock = self.server_port, [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def note(self, what):
        with self.lock:
            self.seen.append(what)


class Replica(BaseHTTPRequestHandler):
    """Notes the trace of each request, and responds."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.note((self.path, self.headers.get_all("traceparent"), self.headers.get_all("tracestate")))
        if self.path.startswith("/slow"):
            time.sleep(SLOW_S)
        self.send_response(404 if self.path.endswith("/missing") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Collector(BaseHTTPRequestHandler):
    """Notes the bodies of batches."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.note((self.path, self.headers["Content-Type"], self.headers["X-Key"], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Story:
    """A request of the test, and the spans that belong to it."""

    def __init__(self, path, flags="01", state=None):
        self.path, self.trace, self.span = path, secrets.token_hex(16), secrets.token_hex(8)
        self.parent, self.state = f"00-{self.trace}-{self.span}-{flags}", state
        self.status, self.spans, self.began = None, [], time.time_ns()

    def ask(self, port):
        fields = {"traceparent": self.parent, **({"tracestate": self.state} if self.state else {})}
        opener = urllib.request.build_opener(NoRedirect)
        try:
            with opener.open(urllib.request.Request(f"http://127.0.0.1:{port}{self.path}", headers=fields)) as answer:
                self.status = answer.status
                answer.read()
        except urllib.error.HTTPError as error:
            self.status = error.code
        self.ended = time.time_ns()

    @property
    def server(self):
        return self.only(lambda span: span.kind == span.SPAN_KIND_SERVER)

    @property
    def attempts(self):
        attempts = [span for span in self.spans if span.kind == span.SPAN_KIND_CLIENT]
        return sorted(attempts, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))

    def named(self, name):
        return self.only(lambda span: span.name == name)

    def only(self, fits):
        found = [span for span in self.spans if fits(span)]
        assert len(found) == 1, f"{self.path}: {len(found)} spans"
        return found[0]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def attributes(of):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of.attributes}


def has(span, **expected):
    found = attributes(span)
    for name, value in expected.items():
        key = name.replace("__", ".")
        assert found.get(key) == value, f"{span.name}: {key} is {found.get(key)!r}, not {value!r}"


def check_tree(story):
    """The spans hang together, and each lies within its parent."""
    spans = {span.span_id: span for span in story.spans}
    assert len(spans) == len(story.spans), "no span has the identifier of another"
    for span in story.spans:
        assert span.trace_id.hex() == story.trace and len(span.span_id) == 8 and any(span.span_id)
        assert span.trace_state == (story.state or "")
        if span is story.server:
            assert span.parent_span_id.hex() == story.span and span.flags == 0x301, hex(span.flags)
            # They have the same clock, but on a busy machine either may notice the end late.
            begin, end = story.began, story.ended + LATE_MS * MS
        else:
            parent = spans[span.parent_span_id]
            assert span.flags == 0x101, hex(span.flags)
            begin, end = parent.start_time_unix_nano, parent.end_time_unix_nano
        times = [begin, span.start_time_unix_nano, span.end_time_unix_nano, end]
        assert times == sorted(times), f"{span.name}: {[(at - begin) / MS for at in times]} ms"
        times = [event.time_unix_nano for event in span.events]
        assert times == sorted(times) and all(begin <= at <= end for at in times), span


def check_retry(story, replica, dead):
    server, (first, second) = story.server, story.attempts
    assert server.name == "GET /retry" and server.status.code == server.status.STATUS_CODE_UNSET
    has(server, http__request__method="GET", url__path="/retry/x", url__scheme="http", http__route="/retry")
    has(server, http__response__status_code=200, network__protocol__version="1.1", client__address="127.0.0.1")
    has(server, server__address="127.0.0.1", unstick__attempts=2, unstick__pool="retry", unstick__outcome="answered")
    assert "secret" not in str(server), "queries are not told"
    has(first, server__port=dead, unstick__cause="connect-failed", error__type="connect-failed")
    has(first, unstick__decision="again")
    assert first.status.code == first.status.STATUS_CODE_ERROR and "refused" in first.status.message
    has(second, server__port=replica.port, http__response__status_code=200, http__request__resend_count=1)
    assert [event.name for event in second.events] == ["request sent", "response head"]
    heard = [parents for path, parents, _ in replica.seen if path == story.path]
    assert heard == [[f"00-{story.trace}-{second.span_id.hex()}-01"]], "the replica hears the span of its attempt"


def check_secure(story):
    (attempt,) = story.attempts
    connect, tls = story.named("connect"), story.named("tls")
    assert connect.parent_span_id == tls.parent_span_id == attempt.span_id
    assert connect.end_time_unix_nano == tls.start_time_unix_nano < tls.end_time_unix_nano
    has(attempt, http__response__status_code=404, error__type="404", unstick__connection="new")
    assert attempt.status.code == attempt.status.STATUS_CODE_ERROR, "a 404 is an error of whoever has called"
    assert story.server.status.code == story.server.status.STATUS_CODE_UNSET, "but none of whoever has responded"


def check_down(story):
    has(story.server, http__response__status_code=502, unstick__cause="connect-failed", error__type="connect-failed")
    assert story.server.status.code == story.server.status.STATUS_CODE_ERROR
    assert "refused" in story.server.status.message and len(story.attempts) >= 2


def check_queue(stories):
    """One of two requests waits for the other."""
    waited = [story for story in stories if any(span.name == "queue" for span in story.spans)]
    assert len(waited) == 1, f"{len(waited)} of {len(stories)} have waited"
    queue, (attempt,) = waited[0].named("queue"), waited[0].attempts
    assert queue.parent_span_id == waited[0].server.span_id
    assert queue.end_time_unix_nano - queue.start_time_unix_nano > SLOW_S / 2 * 1e9
    assert queue.end_time_unix_nano == attempt.start_time_unix_nano
    has(attempt, unstick__chosen="queue")


def check_without_pool(missing, moved):
    assert missing.server.name == "GET" and not missing.attempts
    has(missing.server, http__response__status_code=404, unstick__cause="no-route")
    assert moved.server.name == "GET /moved" and not moved.attempts
    has(moved.server, http__response__status_code=moved.status, http__route="/moved")
    assert all(story.server.status.code == 0 for story in (missing, moved))


def read(collector, stories):
    """Reads what the collector got, strictly, and gives each story its spans."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    by_trace = {story.trace: story for story in stories}
    for path, kind, key, body in collector.seen:
        assert (path, kind, key) == ("/v1/traces", "application/x-protobuf", "hunter2")
        message = ExportTraceServiceRequest.FromString(body)
        # Unknown fields would come last, and those that are out of order in another place.
        assert message.SerializeToString(deterministic=True) == body, "each byte has its meaning and its place"
        (of_resource,) = message.resource_spans
        resource = attributes(of_resource.resource)
        assert resource["service.name"] == "shop" and resource["service.version"] and resource["process.pid"] > 0
        (of_scope,) = of_resource.scope_spans
        assert of_scope.scope.name == "unstick" and of_scope.scope.version == resource["service.version"]
        for span in of_scope.spans:
            by_trace[span.trace_id.hex()].spans.append(span)


def ask_all(web):
    """Sends all requests. Returns them by what they are for."""
    stories = {
        "retry": [Story(f"/retry/x?secret={n}", state="a=1,b=2") for n in range(4)],
        "secure": [Story("/secure/missing")],
        "down": [Story("/down")],
        "without_pool": [Story("/none"), Story("/moved")],
        "unasked": [Story("/retry/unasked", flags="00")],
    }
    for story in sum(stories.values(), []):
        story.ask(web)
    stories["queue"] = [Story("/slow"), Story("/slow")]
    threads = [threading.Thread(target=story.ask, args=(web,)) for story in stories["queue"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return stories


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--unstick", default=ROOT / "target" / "debug" / "unstick", type=Path)
    arguments = parser.parse_args()
    in_environment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_certificate(folder)
        (folder / "key").write_text("hunter2\n")
        plain, secure, collector = Server(Replica), Server(Replica, folder), Server(Collector, folder)
        web, dead = free_port(), free_port()
        ports = {"plain": plain.port, "secure": secure.port, "collector": collector.port, "web": web, "dead": dead}
        (folder / "unstick.toml").write_text(CONFIG.format(**ports))
        command = [arguments.unstick.resolve(), "run", "--config", folder / "unstick.toml", "--workers", "1"]
        log = open(folder / "log", "w+")
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=log)
        try:
            wait_for(web, process)
            stories = ask_all(web)
        finally:
            # What is left is exported before it ends.
            process.send_signal(signal.SIGTERM)
            process.wait(SOON_S)
            log.seek(0)
            print(log.read())
        check_all(stories, collector, plain, dead)
    print("the spans are as they should be")


def wait_for(port, process):
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit("unstick does not start")


def check_all(stories, collector, plain, dead):
    every = sum(stories.values(), [])
    read(collector, every)
    (unasked,) = stories.pop("unasked")
    assert not unasked.spans, "a trusted proxy has said that it is not to be recorded"
    every.remove(unasked)
    for story in every:
        check_tree(story)
    retried = [story for story in stories["retry"] if len(story.attempts) == 2]
    assert retried, "none was tried again"
    for story in retried:
        check_retry(story, plain, dead)
    check_secure(*stories["secure"])
    check_down(*stories["down"])
    check_queue(stories["queue"])
    check_without_pool(*stories["without_pool"])


if __name__ == "__main__":
    main()
