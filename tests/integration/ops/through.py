"""Standard input and output to a port on loopback: a ProxyCommand for tests."""

from __future__ import annotations

import os
import select
import socket
import sys


def main(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while True:
            for ready in select.select([0, sock], [], [])[0]:
                data = os.read(0, 65536) if ready == 0 else sock.recv(65536)
                if not data:
                    return
                if ready == 0:
                    sock.sendall(data)
                else:
                    os.write(1, data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
