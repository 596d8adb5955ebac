"""A replica with a helper that has left everything: it is the child of nobody, in a session and with an environment of
its own, and so is what it has started. A replica without its helper is of no use, nor is one that finds an old helper.
Another helper is like that, but the child of the replica.

Arguments: the port, a word that is in the arguments of the helper, and a file that is made when it is asked for /slow.
"""

import http.server
import os
import socket
import sys
import time

HELPER = "import os, sys, time; os.fork(); time.sleep(600)"


def name(port):
    return f"\0unstick-test-{port}"


def daemonise(port, word):
    held = socket.socket(socket.AF_UNIX)
    held.bind(name(port))
    held.listen(1000)
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        held.set_inheritable(True)
        become_helper(word, f"*:{port}")
    os.wait()
    held.close()


def start_child(word):
    if os.fork() == 0:
        os.setsid()
        become_helper(word)


def become_helper(word, *more):
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.execve(sys.executable, ["helper", "-c", HELPER, f"helper-{word}", *more], {})


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            open(sys.argv[3], "w").close()
            time.sleep(600)
        with socket.socket(socket.AF_UNIX) as helper:
            is_there = helper.connect_ex(name(self.server.server_address[1])) == 0
        self.send_response(200 if is_there else 500)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    daemonise(int(sys.argv[1]), sys.argv[2])
    start_child(sys.argv[2])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
