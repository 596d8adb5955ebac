#!/usr/bin/env python3
"""Looks at the dashboard of a running demo with a headless Chromium.

    tests/dashboard/run.py [--unstick target/debug/unstick] [--pictures target/dashboard]

Starts `unstick demo` with traffic, opens the page of its admin port, kills a replica, and breaks the config file. Then
it looks at the page that a short run of `unstick prove` writes. What the pages must show, and how soon, is in CHECKS.
Pictures at 1280 and 390 px, light and dark, are left in a folder for people to look at; docs/dashboard.png is
`red-1280-light.png` of such a run. Needs chromium and Python 3.9; whatever it starts, it ends by its pid.

Exit codes: 0 all is shown, 1 something is not.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from lib.chromium import Chromium

ROOT = Path(__file__).resolve().parents[2]

# How long the demo may take to start, and the page to show what is not urgent.
START_S = 60
SHOWN_S = 10
# How long a short run of the proof may take.
PROOF_S = 120
# How soon a dead replica must be red.
RED_S = 3
# How soon a change by a button must be seen.
STEERED_S = 3
# How many times the Tab key may be pressed to get to a button.
TABS_MAX = 10
# Requests per second while the page is looked at.
TRAFFIC = 60

ENDPOINT = "document.querySelector('[data-pool=app] .endpoints tbody tr:nth-child({}) {}')"
MARKUP = "<img src=x onerror=alert(1)>"


class Demo:
    """`unstick demo`, and what it has said of itself."""

    def __init__(self, unstick):
        self.unstick = unstick
        command = [unstick, "demo", "--listen", "127.0.0.1:0"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, **pipes)
        self.pids, said = [], ""
        for line in self.process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        self.pids = [int(pid) for pid in re.findall(r"^replica \w+  pid (\d+)", said, re.MULTILINE)]
        self.config = Path(re.search(r"^config +(\S+)", said, re.MULTILINE).group(1))
        self.admin = re.search(r"^admin +(\S+)", said, re.MULTILINE).group(1)
        self.url = re.search(r"Open (\S+)", said).group(1)
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Traffic:
    """Requests to the shop, evenly."""

    def __init__(self, url):
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(url,), daemon=True) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, url):
        while not self.is_over.wait(len(self.threads) / TRAFFIC):
            with contextlib.suppress(OSError), urllib.request.urlopen(url + "whoami", timeout=10) as answer:
                answer.read()

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def text(row, part):
    return f"({ENDPOINT.format(row, part)}?.textContent ?? '')"


def drawn(row):
    """The last value of the line of an endpoint in the chart of requests."""
    chart = "charts.endpoints.get('app').charts[0].chart"
    series = f"{chart}.series.findIndex(one => one.label === {text(row, '.address')})"
    return f"{chart}.data[{series}].at(-1)"


def loads(page, demo, pictures):
    """Three healthy endpoints, with their shares, and charts."""
    page.wait_for("the page is live", "document.getElementById('live')?.textContent === 'live'", START_S)
    for row in (1, 2, 3):
        page.wait_for("a healthy endpoint", f"{text(row, '.chip')} === 'healthy'", SHOWN_S)
        page.wait_for("its traffic", f"parseFloat({text(row, 'td:nth-child(3)')}) > 5", SHOWN_S)
        page.wait_for("its fair share", f"/3[0-9] % .* 33 %/.test({text(row, '.share')})", SHOWN_S)
    page.wait_for("all is well", "document.querySelector('#headline.good h2').textContent.includes('3 of 3')", SHOWN_S)
    page.wait_for("three charts", "document.querySelectorAll('#charts .u-legend').length === 3", SHOWN_S)
    page.wait_for("two of endpoints", "document.querySelectorAll('.pool .charts .u-legend').length === 2", SHOWN_S)
    page.wait_for("the p99", "/p99[0-9.]+ ms/.test(document.querySelector('.figures').textContent)", SHOWN_S)


def red(page, demo, pictures):
    """A replica that was killed is red with its reason, within 3 s, and its traffic moves."""
    os.kill(demo.pids[1], signal.SIGKILL)
    took = page.wait_for("it is red", f"!!{ENDPOINT.format(2, '.chip.bad')}", RED_S)
    reason = "/refused|failed in a row/"
    page.wait_for("its reason", f"{reason}.test({text(2, '.why')}) && /since/.test({text(2, '.why')})", 1)
    page.wait_for("the headline", "document.querySelector('#headline.bad li.bad').textContent.includes('app')", 1)
    verdict = f"{text(2, '.chip.bad')} === 'unhealthy' && {text(2, '.why')}.includes('refused')"
    page.wait_for("the verdict of the probes", verdict, SHOWN_S)
    page.wait_for("no more traffic", f"/^0 % . 0 %/.test({text(2, '.share')})", SHOWN_S)
    page.wait_for("the others have it", f"/(49|5[0-9]) % .* 50 %/.test({text(1, '.share')})", SHOWN_S)
    # The lines of the chart are in the order of the addresses; those of the table are in that of the config.
    page.wait_for("the chart shows it move", f"{drawn(2)} < 2 && {drawn(1)} > {TRAFFIC} / 3 + 2", SHOWN_S)
    pictures("red")
    return f"after {took:.1f} s"


def explained(page, demo, pictures):
    """A request that went to the dead replica first is listed, and its link leads to what became of it."""
    page.value("[...document.querySelectorAll('#requests button')].find(one => one.textContent === 'retried').click()")
    page.wait_for("a request", "!!document.querySelector('#requests tbody a')", SHOWN_S)
    page.value("document.querySelector('#requests tbody a').click()")
    words = "document.querySelector('dialog[open]')?.innerText ?? ''"
    page.wait_for("its attempts", f"/Attempts[^]*1\\. 127[^]*another attempt[^]*2\\. 127/.test({words})", SHOWN_S)
    for part in ("Where the time went", "so there was another attempt", "Endpoints of pool app", "Picked by"):
        page.wait_for(part, f"({words}).includes('{part}')", 1)
    page.wait_for("bars", "document.querySelectorAll('#explain .time i').length > 3", 1)
    pictures("explained")
    page.value("document.querySelector('#explain button').click()")
    page.wait_for("it is closed", "!document.querySelector('dialog[open]') && location.hash === ''", 1)


def healed(page, demo, pictures):
    """The demo starts it again, and all is well."""
    page.wait_for("three of them again", "!!document.querySelector('#headline.good')", 40)


def reach(page, what, is_there):
    """Goes on with the Tab key until the focus, which can be seen, is where it should be."""
    for _ in range(TABS_MAX):
        page.press("Tab")
        if page.value(f"(one => {is_there})(document.activeElement)"):
            if page.value("getComputedStyle(document.activeElement).outlineStyle") == "none":
                raise AssertionError(f"the focus cannot be seen: {what}")
            return
    raise AssertionError(f"the keyboard does not reach {what}")


def steered(page, demo, pictures):
    """An endpoint is drained with the keyboard alone, put back, and weighed. Each asks once, and says what it did."""
    address = page.value(text(1, ".address"))
    reach(page, "Drain", f"one.ariaLabel === 'Drain {address}'")
    page.press("Enter", "\r")
    page.wait_for("the question", f"document.querySelector('#steer[open] h2')?.textContent.includes('{address}')", 1)
    pictures("asked")
    page.press("Escape")
    page.wait_for("nothing is done", f"!document.querySelector('#steer[open]') && {text(1, '.chip')} === 'healthy'", 1)
    page.press("Enter", "\r")
    page.wait_for("the question again", "!!document.querySelector('#steer[open]')", 1)
    page.press("Enter", "\r")
    page.wait_for("it is drained", f"{text(1, '.chip')} === 'draining'", STEERED_S)
    page.wait_for("what was done", f"document.querySelector('.did').textContent.includes('{address}')", 1)
    page.wait_for("as such", f"/drain set at run time by 127.0.0.1 since/.test({text(1, '.set')})", 1)
    page.wait_for("in the headline", "!!document.querySelector('#headline li.note')", 1)
    page.wait_for("no more traffic", f"/^0 % . 0 %/.test({text(1, '.share')}) && {drawn(1)} === 0", SHOWN_S)
    page.wait_for("the focus stays in the row", f"document.activeElement.ariaLabel === 'Ready {address}'", 1)
    pictures("drained")
    page.value(f"{ENDPOINT.format(1, '.buttons button')}.click()")
    page.value("document.querySelector('#steer [name=do]').click()")
    page.wait_for("it is back", f"{text(1, '.chip')} === 'healthy' && {text(1, '.set')} === ''", STEERED_S)
    page.wait_for("its traffic too", f"{drawn(1)} > 5", SHOWN_S)
    page.value(f"[...{ENDPOINT.format(1, '.buttons')}.children].at(-1).click()")
    page.value("document.querySelector('#steer [name=weight]').value = 8")
    page.value("document.querySelector('#steer [name=do]').click()")
    page.wait_for("its fair share", f"/. 80 %/.test({text(1, '.share')})", STEERED_S)


def edits(page, demo, pictures):
    """A broken edit is refused with its message, which is text whatever is in it; the next one is applied."""
    config = demo.config.read_text()
    demo.config.write_text(re.sub(r"balance = .*", f'balance = "{MARKUP}"', config))
    message = "document.querySelector('#reloads li.bad .message')?.textContent ?? ''"
    page.wait_for("the message", f"({message}).includes('{MARKUP}')", SHOWN_S)
    page.wait_for("the headline", "document.querySelector('#headline.bad').textContent.includes('refused')", 1)
    if page.value("document.images.length"):
        raise AssertionError("the message became markup")
    pictures("refused")
    demo.config.write_text(re.sub(r"balance = .*", 'balance = "lc"', config))
    applied = "document.querySelector('#reloads li:first-child:not(.bad) .message')?.textContent ?? ''"
    page.wait_for("what it changed", f"({applied}).includes('least-connections')", SHOWN_S)


def calm(page, demo, pictures):
    """The browser complains of nothing, and has asked no other host."""
    foreign = [url for url in page.requests if not url.startswith((demo.admin, "data:", "about:"))]
    if page.complaints or foreign:
        raise AssertionError(f"complaints {page.complaints}, other hosts {foreign}")
    wide = page.value("document.documentElement.scrollWidth > innerWidth")
    if wide:
        raise AssertionError("it must be scrolled sideways")
    pictures("well")
    return f"{len(page.requests)} requests"


def linked(page):
    """Each answer of the review leads to a row of the page, which is unfolded and shown."""
    links = "[...document.querySelectorAll('.results a')]"
    lost = f"{links}.filter(link => !document.getElementById(link.hash.slice(1))).map(link => link.hash)"
    if page.value(f"{links}.length") < 20 or page.value(lost):
        raise AssertionError(f"links without a target: {page.value(lost)}")
    for kind in ("figures", "sessions lost"):
        page.value("document.querySelectorAll('details').forEach(one => one.open = false)")
        page.value(f"{links}.find(link => link.textContent.endsWith(': {kind}')).click()")
        row = "document.querySelector('tr:target').getBoundingClientRect()"
        seen = f"(row => row.height > 0 && row.top > -1 && row.bottom < innerHeight + 1)({row})"
        page.wait_for(f"the row of {kind}", seen, 2)
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")


def proof(page, demo, pictures):
    """The page of `unstick prove` has tables that a phone shows without scrolling sideways, and links in them."""
    with tempfile.TemporaryDirectory(prefix="unstick-proof-") as folder:
        file = Path(folder) / "proof.html"
        what = "--users 30 --duration 5s --arms all --events crash --html".split()
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # What it finds does not matter: few users in little time may be inconclusive.
        subprocess.run([demo.unstick, "prove", *what, file], timeout=PROOF_S, check=False, **quiet)
        page.open(file.as_uri())
        page.wait_for("the table", "!!document.querySelector('.results tbody td[data-label=jwt]')", SHOWN_S)
        page.wait_for("charts", "document.querySelectorAll('.chart canvas').length > 3", SHOWN_S)
        linked(page)
        # A wide page shows as many arms as it can, beside what is asked.
        page.value("document.querySelector('.wide').scrollLeft = 400")
        left = "document.querySelector('.wide tbody th').getBoundingClientRect().left >= 0"
        page.wait_for("the questions stay", f"document.querySelector('.wide').scrollLeft > 0 && {left}", 1)
        # There is nothing to wait for on this page.
        pictures("proof", until="document.querySelectorAll('.chart canvas').length > 3")
    foreign = [url for url in page.requests if not url.startswith((demo.admin, "file:", "data:", "about:"))]
    if page.complaints or foreign:
        raise AssertionError(f"complaints {page.complaints}, other hosts {foreign}")


CHECKS = (loads, red, explained, healed, steered, edits, calm, proof)


def photographer(page, folder):
    """Takes pictures of the page as it is, at all sizes."""
    folder.mkdir(parents=True, exist_ok=True)

    def take(name, until=None):
        for width, height in ((1280, 800), (390, 844)):
            for is_dark in (False, True):
                page.size(width, height, is_dark)
                # Charts are drawn anew when the next event comes.
                page.wait_for("the next event", until or f"past.at.at(-1) > {page.value('past.at.at(-1)')}", 5)
                page.shoot(folder / f"{name}-{width}-{'dark' if is_dark else 'light'}.png")
                if page.value("document.documentElement.scrollWidth > innerWidth"):
                    raise AssertionError(f"it must be scrolled sideways at {width} px")
        page.size(1280, 800)

    return take


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unstick", type=Path, default=ROOT / "target" / "debug" / "unstick")
    parser.add_argument("--pictures", type=Path, default=ROOT / "target" / "dashboard")
    given = parser.parse_args()
    with contextlib.ExitStack() as ends:
        demo = Demo(given.unstick)
        ends.callback(demo.end)
        traffic = Traffic(demo.url)
        ends.callback(traffic.end)
        page = Chromium()
        ends.callback(page.close)
        page.size(1280, 800)
        page.open(demo.admin)
        pictures = photographer(page, given.pictures)
        for check in CHECKS:
            began = time.monotonic()
            try:
                note = check(page, demo, pictures)
            except Exception as error:
                print(f"FAILED {check.__name__}: {type(error).__name__}: {error}")
                print(page.value("document.body.innerText")[:3000], *page.complaints, sep="\n")
                return 1
            print(f"ok {check.__name__} ({time.monotonic() - began:.1f} s) {note or ''}".rstrip(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
