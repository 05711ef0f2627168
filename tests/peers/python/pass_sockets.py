"""Starts a program with listening sockets, as systemd does: pass_sockets.py NAME:NAME ADDRESS,ADDRESS PROGRAM ARGUMENTS…

An address is HOST:PORT or unix:PATH. Needs no package.
"""

import os
import socket
import sys

FIRST = 3

names, addresses, program = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
sockets = []
for address in addresses:
    if address.startswith("unix:"):
        one = socket.socket(socket.AF_UNIX)
        one.bind(address.removeprefix("unix:"))
    else:
        host, port = address.rsplit(":", 1)
        one = socket.create_server((host, int(port)))
    one.listen()
    sockets.append(one)
# Away from the numbers that they get, so that none overwrites another.
held = [os.dup2(one.fileno(), 100 + at) for at, one in enumerate(sockets)]
for at, descriptor in enumerate(held):
    os.dup2(descriptor, FIRST + at)
    os.set_inheritable(FIRST + at, True)
    os.close(descriptor)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(held)), LISTEN_FDNAMES=names)
os.execv(program[0], program)
