"""Runs a command on a terminal of its own, of 30 lines and 160 columns. Arguments: a text to wait for, the keys to
press then (or a signal to send, as `SIGTERM`), and the command. It prints what came, and exits as the command does;
with 9 if the text did not come, with 8 if the terminal is not as it was before."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time

awaited, keys, command = sys.argv[1].encode(), sys.argv[2].encode().decode("unicode_escape").encode(), sys.argv[3:]
ours, theirs = os.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
before = termios.tcgetattr(theirs)
process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)

seen, pressed, deadline = b"", False, time.monotonic() + 60
while time.monotonic() < deadline:
    if select.select([ours], [], [], 0.05)[0]:
        seen += os.read(ours, 65536)
    elif process.poll() is not None:
        break
    if awaited in seen and not pressed:
        if keys.startswith(b"SIG"):
            process.send_signal(signal.Signals[keys.decode()])
        else:
            os.write(ours, keys)
        pressed = True

if process.poll() is None:
    process.kill()
    process.wait()
sys.stdout.write(seen.decode(errors="replace"))
if not pressed:
    sys.exit(9)
sys.exit(process.returncode if termios.tcgetattr(theirs) == before else 8)
