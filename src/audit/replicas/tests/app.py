"""A small application: its port, and its key if it has one. It says what the test asks for."""

import http.server
import os
import sys

VISITS = []


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        what, _, name = self.path.lstrip("/").partition("/")
        says = {
            "key": lambda: sys.argv[2],
            "variable": lambda: os.environ.get(name, "none"),
            "visit": lambda: (VISITS.append(name), str(len(VISITS)))[1],
            "upload": lambda: open(name, "w").write("uploaded") and "done",
            "look": lambda: open(name).read() if os.path.exists(name) else "nothing",
            "folder": os.getcwd,
            "die": lambda: (print("it was told to", file=sys.stderr, flush=True), os._exit(3)),
        }
        self.say(200, says[what]()) if what in says else self.say(500 if what == "sick" else 404, "no")

    def say(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
