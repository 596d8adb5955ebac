"""An application that keeps in memory who has come. Arguments: its port, and what it does with a stranger: it may
refuse one, or crash. With "store" there are none: it knows everybody, as if it had a store."""

import http.server
import os
import sys
import urllib.parse

KNOWN = set()


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        at = urllib.parse.urlsplit(self.path)
        if at.path == "/come":
            KNOWN.add(at.query)
        elif at.query not in KNOWN and sys.argv[2] == "crash":
            print("a stranger: that was not thought of", file=sys.stderr, flush=True)
            os._exit(3)
        self.send_response(200 if at.query in KNOWN or sys.argv[2] == "store" else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
