#!/usr/bin/env python3
"""Runs every real client in this directory against unstick, in plain text and in TLS, over HTTP/1.1 and HTTP/2.

    tests/clients/run.py [--unstick target/debug/unstick] [--only NAME ...]

Starts two HTTP replicas, two gRPC replicas and unstick with a certificate made on the spot; ends whatever it started.
Needs Python with the packages of requirements.txt (this script makes a virtual environment in target/clients by
itself), Node 20 or newer with npm, curl, openssl; chromium and nghttp2-client. A client that is missing something
fails: nothing is skipped.
"""

import argparse, json, os, signal, socket, subprocess, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIMIT_S = 300

CONFIG = """
[listen.plain]
address = "127.0.0.1:{plain}"
[listen.tls]
address = "127.0.0.1:{tls}"
tls = {{ cert = "site.pem", key = "site.key" }}
[[route]]
path = "/test.Echo"
pool = "grpc"
[[route]]
path = "/grpc.health.v1.Health"
pool = "grpc"
[[route]]
pool = "web"
[pool.web]
backends = [{web}]
[pool.web.health]
path = "/whoami"
[pool.grpc]
protocol = "h2c"
backends = [{grpc}]
[pool.grpc.health]
kind = "grpc"
[admin]
address = "off"
"""


# In front of the one above, over HTTP/2 in TLS and in plain text.
OUTER = """
[listen.web]
address = "127.0.0.1:{port}"
tls = {{ cert = "site.pem", key = "site.key" }}
[pool.inner]
protocol = "{protocol}"
backends = ["localhost:{inner}"]
{more}
[admin]
address = "off"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment():
    """A virtual environment with the Python packages, and the Node packages; made once."""
    home = ROOT / "target" / "clients"
    python = home / "bin" / "python3"
    mark = home / "requirements.txt"
    wanted = (HERE / "requirements.txt").read_text()
    if not mark.exists() or mark.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        mark.write_text(wanted)
    version = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        sys.exit(f"Node {version} is too old for these clients: install 20 or newer")
    if not (HERE / "node_modules" / "ws").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE, check=True)
    return python


def make_certificate(folder):
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
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        folder / "site.key",
        "-out",
        folder / "site.pem",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site.pem"


class Servers:
    """What runs in the background, and is ended by its pid."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def start(self, name, command):
        log = open(self.folder / f"{name}.log", "wb")
        self.running.append(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        )

    def wait_for(self, port, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        sys.exit(f"nobody listens on port {port}; see the logs in {self.folder}")

    def end(self):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def clients(python, plain, tls, outer, ca):
    """Name and command of each run."""
    http, https = ["--base", f"http://localhost:{plain}"], ["--base", f"https://localhost:{tls}", "--ca", str(ca)]
    runs = {}
    for where, base in (("plain", http), ("tls", https)):
        runs[f"curl-{where}"] = [HERE / "client_curl.sh", *base]
        runs[f"httpx-{where}-h1"] = [python, HERE / "client_httpx.py", *base]
        runs[f"httpx-{where}-h2"] = [python, HERE / "client_httpx.py", *base, "--h2"]
        runs[f"grpc-{where}"] = [python, HERE / "client_grpc.py", *base]
        runs[f"websockets-{where}"] = [python, HERE / "client_websockets.py", *base]
        for program in ("client_node.mjs", "client_node_ws.mjs"):
            for version in ([], ["--h2"]):
                name = f"{program.removeprefix('client_').removesuffix('.mjs')}-{where}-{'h2' if version else 'h1'}"
                runs[name] = ["node", HERE / program, *base, *version]
        runs[f"chromium-{where}"] = [python, HERE / "client_chromium.py", *base]
    for protocol, port in outer.items():
        base = ["--base", f"https://localhost:{port}", "--ca", str(ca)]
        runs[f"curl-over-{protocol}"] = [HERE / "client_curl.sh", *base]
        runs[f"httpx-over-{protocol}"] = [python, HERE / "client_httpx.py", *base, "--h2"]
        runs[f"node-over-{protocol}"] = ["node", HERE / "client_node.mjs", *base, "--h2"]
        runs[f"grpc-over-{protocol}"] = [python, HERE / "client_grpc.py", *base]
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unstick", type=Path, default=ROOT / "target" / "debug" / "unstick")
    parser.add_argument("--only", nargs="*", default=[], help="the beginnings of names")
    given = parser.parse_args()
    python = environment()
    with tempfile.TemporaryDirectory(prefix="unstick-clients-") as folder:
        folder = Path(folder)
        ca = make_certificate(folder)
        web, grpc, plain, tls = [free_port(), free_port()], [free_port(), free_port()], free_port(), free_port()
        address = lambda ports: ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        (folder / "unstick.toml").write_text(CONFIG.format(plain=plain, tls=tls, web=address(web), grpc=address(grpc)))
        servers = Servers(folder)
        failed = []
        try:
            for name, port in zip("ab", web):
                servers.start(f"web-{name}", [python, HERE / "replica.py", "--port", str(port), "--name", name])
            for name, port in zip("ab", grpc):
                servers.start(f"grpc-{name}", [python, HERE / "grpc_replica.py", "--port", str(port), "--name", name])
            for port in web + grpc:
                servers.wait_for(port)
            servers.start("unstick", [given.unstick, "run", "-c", folder / "unstick.toml"])
            servers.wait_for(tls)
            outer = {protocol: free_port() for protocol in ("h2c", "https")}
            for protocol, port in outer.items():
                inner, more = (plain, "") if protocol == "h2c" else (tls, '[pool.inner.tls]\nca = "site.pem"')
                file = folder / f"{protocol}.toml"
                file.write_text(OUTER.format(port=port, protocol=protocol, inner=inner, more=more))
                servers.start(protocol, [given.unstick, "run", "-c", file])
                servers.wait_for(port)
            for name, command in clients(python, plain, tls, outer, ca).items():
                if given.only and not any(name.startswith(begin) for begin in given.only):
                    continue
                began = time.monotonic()
                try:
                    run = subprocess.run(
                        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S
                    )
                    code, out = run.returncode, run.stdout
                except subprocess.TimeoutExpired as late:
                    code, out = "timeout", (late.stdout or b"").decode(errors="replace")
                passed = sum(line.startswith("ok ") for line in out.splitlines())
                print(
                    f"{'ok' if code == 0 else 'FAILED'} {name}: {passed} checks in {time.monotonic() - began:.1f} s",
                    flush=True,
                )
                for line in out.splitlines():
                    if line.startswith("ok ") and ("median" in line or "counts" in line):
                        print("    " + line, flush=True)
                if code != 0 or not passed:
                    failed.append(name)
                    print(
                        "\n".join("    " + line for line in out.splitlines() if not line.startswith("ok "))[-3000:],
                        flush=True,
                    )
            if failed:
                log = (folder / "unstick.log").read_text(errors="replace").splitlines()
                print("unstick said:", *(line[:300] for line in log[-20:]), sep="\n    ")
        finally:
            servers.end()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
