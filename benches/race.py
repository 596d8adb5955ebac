#!/usr/bin/env python3
"""The race between a request and a close, through edits of a listener and through stops of the process.

A client may send its next request in the moment in which the proxy closes the connection. Exact clients (lib/racer.py)
look for the close right before each POST, so that what they lose the proxy has lost. Meanwhile the listener is edited,
and the process is stopped while a new one takes its place on the same port, each product by its own means:

    unstick                  the file is edited; SIGTERM, and the next process binds as soon as the port is free
    haproxy                  reload of the master (SIGUSR2), `option idle-close-on-response`; SIGUSR1 when the next
                             one listens beside it (SO_REUSEPORT)
    haproxy-without-option   the same without the option
    nginx                    reload of the master (SIGHUP); SIGQUIT when the next one listens beside it (SO_REUSEPORT)

A connection that is refused loses nothing, and is counted. Exit 1 if unstick has lost a request.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from http.client import HTTPException
from pathlib import Path

from lib.process import UNSTICK, Children, cores, findings, free_port, need_tools, need_unstick, wait_until
from lib.servers import Server, get, make_files, start_nginx, unstick_config

RACER = Path(__file__).with_name("lib") / "racer.py"
LONG_PAUSE_S = 1.2  # around the default of --drain-idle, so that such connections are closed by the old process

HAPROXY = """
global
    nbthread 1
    maxconn 8000
    hard-stop-after 25s
defaults
    mode http
    option http-keep-alive
    {option}
    timeout connect 2s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout client 60s
    timeout server 60s
frontend web
    bind 127.0.0.1:{port} backlog 4096
    default_backend app
backend app
    server app1 {replica}
"""

NGINX = """
daemon off;
worker_processes 1;
worker_shutdown_timeout 25s;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
    uwsgi_temp_path {dir}; scgi_temp_path {dir};
    upstream app {{ server {replica}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""

# What an edit of unstick's listener changes, by turns. The last one lets present connections drain; so does its end.
LISTENER = (
    "",
    'trusted_proxies = ["10.0.0.0/8"]',
    'protocols = ["h1"]',
    'trusted_proxies = ["10.0.0.0/8"]\nproxy_protocol = "accept"',
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", choices=PRODUCTS, nargs="+", default=list(PRODUCTS), metavar="NAME")
    parser.add_argument("--edits", type=int, default=60, help="edits of the listener (60)")
    parser.add_argument("--stops", type=int, default=12, help="stops with a replacement (12)")
    parser.add_argument("--clients", type=int, default=256, help="connections (256)")
    parser.add_argument("--pause", type=float, default=0.05, help="mean pause of a client in seconds (0.05)")
    parser.add_argument(
        "--drain-idle", type=float, default=1.0, metavar="SECONDS", help="timeouts.drain_idle of unstick (1.0)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args()


class Product:
    """A proxy on one port, and whoever takes its place there."""

    def __init__(self, args, children: Children, tmp: Path, replica: Server, core: int) -> None:
        self.args, self.children, self.replica, self.core = args, children, replica, core
        self.home, self.port, self.edits, self.starts = tmp, free_port(), 0, 0
        self.log = tmp / "log"
        self.process = self.start()

    def start(self) -> subprocess.Popen:
        """Starts a process and waits until it responds. `command` says how."""
        self.starts += 1
        process = self.children.start(self.command(), self.core, self.log)
        wait_until(lambda: self.is_up(process), 10, f"{self.home.name} responds", 0.01)
        return process

    def is_up(self, process: subprocess.Popen) -> bool:
        if process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-1000:]
            raise RuntimeError(f"{self.home.name} ended with {process.returncode}: {tail}")
        try:
            return get(self.port)[0] == 200
        except (OSError, HTTPException):
            return False


class Unstick(Product):
    def command(self) -> list:
        self.admin = free_port()
        self.file = self.home / "unstick.toml"
        self.write()
        return [need_unstick(self.args.unstick), "run", "-c", self.file, "--workers", 2]

    def write(self) -> None:
        text = unstick_config(self.port, {"app": [self.replica.address]}, admin=f"127.0.0.1:{self.admin}")
        more = LISTENER[self.edits % len(LISTENER)]
        rest = f'\n[timeouts]\ndrain_idle = "{round(self.args.drain_idle * 1000)}ms"\n'
        self.file.write_text(text.replace("\n\n", f"\n{more}\n\n", 1) + rest)

    def applied(self) -> int:
        metrics = get(self.admin, "/metrics")[1].decode()
        return int(re.search(r'unstick_reloads_total\{result="applied"\} (\d+)', metrics)[1])

    def edit(self) -> None:
        self.edits += 1
        before = self.applied()
        self.write()
        wait_until(lambda: self.applied() > before, 10, "the edit is applied", 0.01)

    def replace(self) -> None:
        """The next process refuses to share the port with a stranger, so it comes when the old one has let go."""
        old = self.process
        old.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(self.port), 10, "the old process stops listening", 0.001)
        self.process = self.start()


class Master(Product):
    """A master process whose workers are replaced."""

    def edit(self) -> None:
        self.edits += 1
        before = workers_of(self.process.pid)
        self.process.send_signal(self.reload)
        wait_until(lambda: workers_of(self.process.pid) - before, 10, "a new worker runs", 0.01)

    def replace(self) -> None:
        old = self.process
        before = listening(self.port)
        self.process = self.start()
        wait_until(lambda: listening(self.port) - before, 10, "the new one listens", 0.01)
        old.send_signal(self.stop)


class Haproxy(Master):
    reload, stop, option = signal.SIGUSR2, signal.SIGUSR1, "option idle-close-on-response"

    def command(self) -> list:
        file = self.home / "haproxy.cfg"
        file.write_text(HAPROXY.format(port=self.port, replica=self.replica.address, option=self.option))
        return ["haproxy", "-W", "-db", "-f", file]


class HaproxyWithout(Haproxy):
    option = ""


class Nginx(Master):
    reload, stop = signal.SIGHUP, signal.SIGQUIT

    def command(self) -> list:
        home = self.home / str(self.starts)
        home.mkdir()
        file = home / "nginx.conf"
        file.write_text(NGINX.format(dir=home, port=self.port, replica=self.replica.address))
        return ["nginx", "-p", home, "-e", home / "error.log", "-c", file]


PRODUCTS = {"unstick": Unstick, "haproxy": Haproxy, "haproxy-without-option": HaproxyWithout, "nginx": Nginx}


def workers_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def listening(port: int) -> set[str]:
    """The inodes of the sockets that listen on this port of IPv4."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {words[9] for words in lines if words[3] == "0A" and words[1].endswith(f":{port:04X}")}


def listens(port: int) -> bool:
    return bool(listening(port))


def race(args, children: Children, tmp: Path, name: str, replica: Server) -> dict:
    """One product; what became of the requests."""
    home = tmp / name
    home.mkdir()
    proxy_core, load_core = cores()
    product = PRODUCTS[name](args, children, home, replica, proxy_core)
    words = [product.port, args.clients, args.pause, LONG_PAUSE_S, args.seed]
    racer = children.start(
        [sys.executable, RACER, *words],
        load_core,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        text=True,
    )
    if racer.stdout.readline().strip() != "ready":
        raise RuntimeError(f"{name}: the clients could not begin")
    every = max(1, args.edits // max(1, args.stops))
    for number in range(max(args.edits, args.stops * every)):
        time.sleep(0.2)
        if number < args.edits:
            product.edit()
        if number % every == every - 1 and number // every < args.stops:
            time.sleep(0.2)
            product.replace()
    time.sleep(args.drain_idle + 0.5)  # the last old process ends
    out, _ = racer.communicate("\n", timeout=30)
    result = json.loads(out)
    children.stop(product.process)
    return {"product": name, "edits": product.edits, "stops": product.starts - 1, **result}


COLUMNS = (
    ("requests", "requests"),
    ("lost on kept connections", "lost, kept"),
    ("lost on new connections", "lost, new"),
    ("failed", "failed"),
    ("closes announced", "announced"),
    ("closes seen before sending", "seen"),
    ("refused connections", "refused"),
)


def show(result: dict) -> None:
    counts = result["counts"]
    cells = "".join(f"{counts.get(key, 0):>12}" for key, _ in COLUMNS)
    print(f"{result['product']:24}{result['edits']:>6}{result['stops']:>6}{cells}", flush=True)
    for kind, count in sorted(result["kinds"].items()):
        print(f"    {count} x {kind}", flush=True)


def lost(result: dict) -> int:
    counts = result["counts"]
    return sum(counts.get(key, 0) for key in ("lost on kept connections", "lost on new connections", "failed"))


def main() -> int:
    args = arguments()
    need_tools("nginx", "haproxy")
    results = []
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-race-") as name, Children() as children:
        tmp = Path(name)
        tmp.chmod(0o755)
        replica = start_nginx(children, tmp, make_files(tmp / "files"), cores()[1])
        if not args.json:
            print(f"{'':24}{'edits':>6}{'stops':>6}" + "".join(f"{title:>12}" for _, title in COLUMNS), flush=True)
        for product in args.products:
            results.append(race(args, children, tmp, product, replica))
            if not args.json:
                show(results[-1])
    if args.json:
        print(json.dumps(results, indent=2))
    return int(
        any(lost(result) or not result["counts"]["requests"] for result in results if result["product"] == "unstick")
    )


if __name__ == "__main__":
    sys.exit(main())
