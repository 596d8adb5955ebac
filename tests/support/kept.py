"""An application whose users share a store, a folder. What a replica keeps beside it is wrong as soon as another one
writes. Arguments: its port, the folder, and what it keeps: "read" is what it has read, "paid" which payments have come,
"nothing" is nothing."""

import http.server
import pathlib
import sys
import urllib.parse

FOLDER = pathlib.Path(sys.argv[2])
READ = {}
PAID = set()


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        at = urllib.parse.urlsplit(self.path)
        file = FOLDER / at.query
        if at.path == "/write":
            file.write_text("written")
            READ.pop(at.query, None)
            self.say("ok")
        elif at.path == "/pay":
            mark = FOLDER / f"{at.query}-paid"
            has_paid = at.query in PAID if sys.argv[3] == "paid" else mark.exists()
            PAID.add(at.query)
            mark.touch()
            if not has_paid:
                file.write_text(self.read(file, "") + "1 ")
            self.say("thanks")
        elif sys.argv[3] == "read":
            self.say(READ.setdefault(at.query, self.read(file, "empty")))
        else:
            self.say(self.read(file, "empty"))

    def read(self, file, otherwise):
        return file.read_text() if file.exists() else otherwise

    def say(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
