"""An application that keeps in memory who has come. Arguments: its port, and what it does with a stranger: it may
refuse one, "seldom" only every third one, or crash. With "store" there are none: it knows everybody, as if it had a
store. With "packed" in it, it says so in a page that is packed and has a token in it."""

import gzip
import http.server
import itertools
import os
import secrets
import sys
import urllib.parse

KNOWN = set()
STRANGERS = itertools.count()


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        at = urllib.parse.urlsplit(self.path)
        if at.path == "/come":
            KNOWN.add(at.query)
        elif at.query not in KNOWN and sys.argv[2] == "crash":
            print("a stranger: that was not thought of", file=sys.stderr, flush=True)
            os._exit(3)
        is_known = at.query in KNOWN or sys.argv[2].endswith("store")
        is_known = is_known or (sys.argv[2] == "seldom" and next(STRANGERS) % 3 != 0)
        if sys.argv[2].startswith("packed"):
            said = "welcome back" if is_known else "who are you?"
            self.say(200, gzip.compress(f"<p>{secrets.token_hex(16)}</p> {said}".encode()))
        else:
            self.say(200 if is_known else 401, b"")

    def say(self, status, packed):
        self.send_response(status)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(packed)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
