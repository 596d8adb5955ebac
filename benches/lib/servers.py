"""Starts the replicas (nginx) and the proxies (unstick, HAProxy), each with a config written for it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from .process import Children, free_port, wait_until

SMALL_BODY = "x" * 128 + "\n"  # 129 bytes

NGINX = """
daemon off;
master_process off;  # one process: its pid is the replica, and kill -9 leaves nothing behind
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
    uwsgi_temp_path {dir}; scgi_temp_path {dir};
    server {{
        listen 127.0.0.1:{port} backlog=4096;
{more}
        root {files};
        location = / {{ return 200 "{body}"; }}
        location ^~ /r/ {{ return 200 "{body}"; }}
        location = /stub {{ stub_status; }}
        location /paced/ {{ alias {files}/; limit_rate {rate}; }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    no log
    option http-keep-alive
    http-reuse always
    option forwardfor
    retries 2
    timeout connect 2s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout client 60s
    timeout server 60s
frontend web
    bind 127.0.0.1:{port} backlog 4096
{routes}
    default_backend app
{backends}
"""

HAPROXY_BACKEND = """
backend {name}
    balance roundrobin
    option httpchk GET /
    default-server check inter 2s fall 3 rise 2
{servers}
"""


@dataclass
class Server:
    """A running replica or proxy."""

    name: str
    process: subprocess.Popen
    port: int
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.address}{path}"


def make_files(directory: Path, **sizes: int) -> Path:
    """Files of zeros, named by their keyword, next to an index.html with the small body."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    (directory / "index.html").write_text(SMALL_BODY)
    for name, size in sizes.items():
        with open(directory / name, "wb") as file:
            for _ in range(size // 65536):
                file.write(bytes(65536))
    return directory


def make_certificate(tmp: Path) -> Path:
    """A certificate of our own with its key (P-256), both in one file."""
    file = tmp / "site.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        file,
        "-out",
        tmp / "cert",
    ]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp / "cert").read_text())
    return file


def get(port: int, path: str = "/", timeout: float = 5) -> tuple[int, bytes]:
    """One GET on a fresh connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_ready(server: Server, seconds: float = 10) -> Server:
    """Waits until GET / gets a 200. An exit before that is reported with the last lines of the log."""

    def ready() -> bool:
        if server.process.poll() is not None:
            tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{server.name} ended with {server.process.returncode}:\n{tail}")
        try:
            return get(server.port)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    wait_until(ready, seconds, f"{server.name} answers on {server.address}")
    return server


def start_nginx(
    children: Children,
    tmp: Path,
    files: Path,
    core: int | None = None,
    port: int | None = None,
    rate: int = 0,
    more_ports: Sequence[int] = (),
    nice: int = 0,
) -> Server:
    """One replica: `/` and all below `/r/` have 129 bytes, other paths are files, below `/paced/` sent at `rate` bytes
    per second (0 = as fast as possible); `/stub` counts requests. It listens on `more_ports` too."""
    port = port or free_port()
    home = tmp / f"nginx-{port}"
    home.mkdir(exist_ok=True)
    more = "\n".join(f"        listen 127.0.0.1:{extra} backlog=4096;" for extra in more_ports)
    config = home / "nginx.conf"
    config.write_text(NGINX.format(dir=home, files=files, port=port, body=SMALL_BODY, rate=rate, more=more))
    log = home / "error.log"
    child = children.start(["nginx", "-p", home, "-e", log, "-c", config], core, log, nice)
    return wait_ready(Server("nginx", child, port, log))


def start_http_server(
    children: Children, tmp: Path, files: Path, core: int | None = None, port: int | None = None
) -> Server:
    """One replica of another kind: Python's own, HTTP/1.0, a connection per request."""
    port = port or free_port()
    command = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", files, port]
    child = children.start(command, core)
    return wait_ready(Server("http.server", child, port, Path("/dev/null")))


def nginx_requests(replica: Server) -> int:
    """How many requests this nginx has seen, without the one that asks."""
    text = get(replica.port, "/stub")[1].decode()
    return int(re.search(r"^ \d+ \d+ (\d+)", text, re.M).group(1)) - 1


def start_haproxy(
    children: Children,
    tmp: Path,
    pools: dict[str, list[str]],
    core: int | None = None,
) -> Server:
    """HAProxy with one thread. Pool `app` gets everything that no `/NAME` prefix sends elsewhere."""
    port = free_port()
    backends = ""
    for pool, addresses in pools.items():
        servers = "\n".join(f"    server {pool}{i} {address}" for i, address in enumerate(addresses))
        backends += HAPROXY_BACKEND.format(name=pool, servers=servers)
    routes = "\n".join(f"    use_backend {pool} if {{ path_beg /{pool} }}" for pool in pools if pool != "app")
    config = tmp / f"haproxy-{port}.cfg"
    config.write_text(HAPROXY.format(port=port, routes=routes, backends=backends))
    log = tmp / f"haproxy-{port}.log"
    child = children.start(["haproxy", "-db", "-f", config], core, log)
    return wait_ready(Server("haproxy", child, port, log))


def unstick_config(port: int, pools: dict[str, list[str]], admin: str = "off", health: str = "", rest: str = "") -> str:
    """The config of unstick: the same pools and prefixes as in HAProxy, defaults for the rest (access log off)."""
    text = f'[listen.web]\naddress = "127.0.0.1:{port}"\n\n[admin]\naddress = "{admin}"\n'
    for pool in pools if len(pools) > 1 else []:
        path = "/" if pool == "app" else f"/{pool}"
        text += f'\n[[route]]\npath = "{path}"\npool = "{pool}"\n'
    for pool, addresses in pools.items():
        text += f'\n[pool.{pool}]\nbackends = {json.dumps(addresses)}\n\n[pool.{pool}.health]\npath = "/"\n{health}'
    return text + rest


def start_unstick(
    children: Children,
    tmp: Path,
    pools: dict[str, list[str]],
    binary: Path,
    core: int | None = None,
    workers: int | None = 1,
    name: str = "unstick",
    **config,
) -> Server:
    """unstick with its config at `tmp/NAME/unstick.toml`, alone in its folder, and its log at `tmp/NAME.log`."""
    port = free_port()
    file = tmp / name / "unstick.toml"
    file.parent.mkdir()
    file.write_text(unstick_config(port, pools, **config))
    log = tmp / f"{name}.log"
    command = [binary, "run", "-c", file] + (["--workers", workers] if workers else [])
    return wait_ready(Server(name, children.start(command, core, log), port, log))
