"""Proves with a headless Chromium that a browser gets along with the proxy: page.html, served by replica.py, uses
fetch, streaming uploads, EventSource, WebSocket, and cookies, and says with which protocol. Over https all must be h2,
WebSocket too (RFC 8441).

    python3 client_chromium.py --base https://localhost:8443 --ca ca.pem
    python3 client_chromium.py --base http://localhost:8080                    # a browser speaks only HTTP/1.1 without
    TLS

--ws-h1 allows WebSocket over HTTP/1.1 beside h2. Needs chromium and openssl. Behind the base there are replicas of
replica.py.
"""

import asyncio, base64, hashlib, html, json, re, ssl, subprocess, sys, tempfile
from pathlib import Path
from urllib.parse import urlsplit

from checks import arguments, ensure, expect, run

LIMIT_S = 120
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking
--disable-component-update
    --disable-extensions --disable-sync --no-first-run --disable-default-apps --net-log-capture-mode=Everything
    --timeout=110000
    --dump-dom""".split()


def spki(given):
    """The hash of the server's public key, by which Chromium is told to trust it, after its certificate was checked
    against the CA."""
    url = urlsplit(given.base)
    pem = ssl.get_server_certificate((url.hostname, url.port or 443), ca_certs=given.ca, timeout=10)
    key = subprocess.run(
        ["openssl", "x509", "-noout", "-pubkey"], input=pem.encode(), capture_output=True, check=True
    ).stdout
    der = base64.b64decode(b"".join(line for line in key.splitlines() if not line.startswith(b"-")))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def browse(given):
    """Loads the page: its results, and the log of what Chromium did in the network."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        log = Path(profile, "net-log.json")
        command = ["chromium", *FLAGS, f"--user-data-dir={profile}", f"--log-net-log={log}"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1"]
        if given.base.startswith("https:"):
            command.append(f"--ignore-certificate-errors-spki-list={spki(given)}")
        ended = subprocess.run([*command, f"{given.base}/page"], capture_output=True, text=True, timeout=LIMIT_S)
        results = re.search(r'<pre id="results">(.+?)</pre>', ended.stdout, re.DOTALL)
        ensure(results, f"no results; exit {ended.returncode}; {ended.stdout[:200]} {ended.stderr[-300:]}")
        return json.loads(html.unescape(results.group(1))), log.read_text()


def checks(given, results, log):
    async def protocol():
        expect(results["protocols"], ["h2" if given.base.startswith("https:") else "http/1.1"])

    async def websocket_protocol():
        over_h2 = ":protocol: websocket" in log
        if given.base.startswith("https:") and not given.ws_h1:
            ensure(over_h2, "Chromium sent no extended CONNECT")
        return "h2" if over_h2 else "http/1.1"

    def check(result):
        async def judged():
            ensure("error" not in result, result.get("error"))
            return result.get("note")

        return judged

    of_page = [(name, check(result)) for name, result in results["checks"].items()]
    return [("protocol", protocol), ("protocol of WebSocket", websocket_protocol), *of_page]


if __name__ == "__main__":
    given = arguments(__doc__, "ws-h1")
    try:
        seen = browse(given)
    except Exception as error:
        print(f"FAILED page: {type(error).__name__}: {error}")
        sys.exit(1)
    asyncio.run(run(checks(given, *seen)))
