"""Starts a program as a service manager does that has bound its sockets, by sd_listen_fds(3).

    activate.py NAME[=ADDRESS]... -- PROGRAM ARGUMENT...

A name alone is for the socket that is the standard input; an address is a TCP port of 127.0.0.1, or a path.
"""

import fcntl
import os
import socket
import sys

FIRST = 3
OUT_OF_THE_WAY = 100


def bound(address):
    sock = socket.socket(socket.AF_UNIX if "/" in address else socket.AF_INET)
    sock.bind(address if "/" in address else ("127.0.0.1", int(address)))
    sock.listen()
    return sock.detach()


end = sys.argv.index("--")
names, sockets = [], []
for word in sys.argv[1:end]:
    name, _, address = word.partition("=")
    names.append(name)
    sockets.append(fcntl.fcntl(bound(address) if address else 0, fcntl.F_DUPFD, OUT_OF_THE_WAY))
for number, sock in enumerate(sockets, FIRST):
    os.dup2(sock, number, inheritable=True)
    os.close(sock)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=":".join(names))
os.execv(sys.argv[end + 1], sys.argv[end + 1 :])
