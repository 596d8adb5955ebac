#!/usr/bin/env python3
"""Compares the alert rules and the dashboard for Grafana with what unstick measures.

    tests/metrics/run.py [--unstick target/debug/unstick]

- promtool accepts the rules, and the tests of when each alert fires; each alert has such a test.
- promtool accepts a scrape of a running unstick in the text format, and every expression of the dashboard.
- Every metric that a rule, a test or the dashboard names is in the scrape, with every label that is asked for.

Needs Python 3.9, openssl, and promtool (Debian's package prometheus). Whatever it starts, it ends by its pid.

Exit codes: 0 all is well, 1 something is not, 2 something is missing.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "config/monitoring/alerts.yaml"
TESTS = ROOT / "tests/metrics/alerts_test.yaml"
DASHBOARD = ROOT / "config/monitoring/grafana.json"

START_S = 30
# Every kind of metric: a certificate, a rate, a pool with a health check. Nothing listens on port 1.
CONFIG = """
[listen.web]
address = "127.0.0.1:0"
[listen.tls]
address = "127.0.0.1:0"
tls = {{ cert = "site.pem", key = "site.key" }}
[admin]
address = "127.0.0.1:{admin}"
[[route]]
rate = {{ requests = 5, in = "1m" }}
pool = "app"
[pool.app]
backends = ["127.0.0.1:1"]
[pool.app.health]
path = "/healthz"
"""
# What Prometheus adds to each series.
OUTER_LABELS = {"instance", "job", "le"}
# What Grafana puts in place of a variable.
VARIABLES = {"$__rate_interval": "5m", "$__interval": "5m", "$instance": ".*", "$pool": ".*"}


class Found:
    """Counts what is wrong."""

    def __init__(self):
        self.problems = 0

    def say(self, is_well, what):
        self.problems += not is_well
        print(f"{'ok' if is_well else 'FAILED'}: {what}")


def promtool(found, what, *arguments, text=None):
    """Runs promtool; what it says is shown if it refuses."""
    done = subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=120)
    found.say(done.returncode == 0, f"promtool {what}")
    if done.returncode:
        print(done.stdout + done.stderr)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scrape(unstick):
    """The metrics of an instance that has answered some requests."""
    with tempfile.TemporaryDirectory(prefix="unstick-metrics-") as folder:
        key, cert, port = f"{folder}/site.key", f"{folder}/site.pem", free_port()
        make = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=a.test", "-days", "30"]
        subprocess.run([*make, "-keyout", key, "-out", cert], check=True, capture_output=True)
        Path(folder, "unstick.toml").write_text(CONFIG.format(admin=port))
        command, said = [unstick, "run", "-c", "unstick.toml"], subprocess.PIPE
        process = subprocess.Popen(command, cwd=folder, stderr=said, text=True)
        try:
            web = None
            for line in process.stderr:
                if at := re.search(r"serving .*web on (http://[\d.:]+)", line):
                    web = at[1]
                    break
            if web is None:
                raise RuntimeError("unstick has ended at the start")
            for _ in range(8):
                try:
                    urllib.request.urlopen(web, timeout=10)
                except urllib.error.HTTPError as error:
                    error.close()
            return read(f"http://127.0.0.1:{port}/metrics")
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()


def read(url):
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.read().decode()
        except OSError:
            if time.monotonic() > deadline:
                raise


def samples(page):
    """The labels of each metric of a scrape."""
    known = {}
    for line in page.splitlines():
        if sample := re.match(r"([a-z_0-9]+)(?:\{(.*)\})? ", line):
            for name in (sample[1], sample[1].removesuffix("_bucket")):
                known.setdefault(name, set()).update(re.findall(r'(\w+)="', sample[2] or ""))
    return known


def problems_of(text, known):
    """What a text asks for that no scrape has."""
    problems = set()
    for name, labels in re.findall(r"\b(unstick_[a-z_0-9]+)\b(?:\{([^}]*)\})?", text):
        if name not in known:
            problems.add(f"there is no {name}")
            continue
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)) - OUTER_LABELS
        problems.update(f"{name} has no label {label}" for label in asked - known[name])
    return sorted(problems)


def expressions(dashboard):
    """Every expression of the dashboard, as Prometheus would get it."""
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    annotations = [annotation["expr"] for annotation in dashboard["annotations"]["list"] if "expr" in annotation]
    for expression in panels + annotations:
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        yield expression


def check(found, unstick):
    promtool(found, f"check rules {RULES.name}", "check", "rules", RULES)
    promtool(found, f"test rules {TESTS.name}", "test", "rules", TESTS)
    rules, tests, dashboard = RULES.read_text(), TESTS.read_text(), json.loads(DASHBOARD.read_text())
    for alert in re.findall(r"- alert: (\w+)", rules):
        fires = re.search(rf"alertname: {alert}\n +eval_time: \w+\n +exp_alerts:\n +- ", tests)
        found.say(fires, f"a test shows that {alert} fires")
    shown = list(expressions(dashboard))
    groups = [{"name": "a", "rules": [{"record": f"a:{n}", "expr": expr} for n, expr in enumerate(shown)]}]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps({"groups": groups}))
        file.flush()
        promtool(found, f"check {len(shown)} expressions of {DASHBOARD.name}", "check", "rules", file.name)

    page = scrape(unstick)
    promtool(found, "check metrics", "check", "metrics", text=page)
    known = samples(page)
    found.say(len(known) > 50, f"a scrape has {len(known)} metrics")
    planted = problems_of('rate(unstick_no_such_total[5m]) + unstick_ready{walk="1"}', known)
    found.say(len(planted) == 2, "a metric and a label that do not exist are noticed")
    queries = [variable.get("definition", "") for variable in dashboard["templating"]["list"]]
    for name, text in [(RULES.name, rules), (TESTS.name, tests), (DASHBOARD.name, "\n".join(shown + queries))]:
        problems = problems_of(text, known)
        found.say(not problems, f"{name} names only metrics and labels that exist")
        print("".join(f"    {problem}\n" for problem in problems), end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unstick", type=Path, default=ROOT / "target/debug/unstick")
    unstick = parser.parse_args().unstick.resolve()
    missing = [tool for tool in ("promtool", "openssl", unstick) if shutil.which(tool) is None]
    if missing:
        print(f"missing: {', '.join(map(str, missing))}", file=sys.stderr)
        return 2
    found = Found()
    check(found, unstick)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
