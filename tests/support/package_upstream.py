"""A repository in a rack's network: its socket alone is there, it fetches from outside the rack.

A thread enters the rack's network namespace (setns(2)), makes the listening socket and ends; what
is asked there is fetched from the repository that this machine's own apt uses.
"""

import ctypes
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CLONE_NEWNET = 0x40000000
TIMEOUT_S = 30.0


def listen_in(pid: int, address: str) -> socket.socket:
    """A listening socket on a free port of `address` in the network namespace of a process."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open() as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns failed")
                made.append(socket.create_server((address, 0), backlog=64))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


class Upstream:
    """What was asked for, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []


@contextmanager
def package_upstream(pid: int, address: str, behind: str) -> Iterator[Upstream]:
    """Serve the repository at the URL `behind` in the network namespace of `pid`."""
    listening = listen_in(pid, address)
    upstream = Upstream(f"http://{address}:{listening.getsockname()[1]}/packages")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing: what was asked is kept."""

        def do_GET(self) -> None:
            upstream.asked.append(self.path)
            wanted = behind.rstrip("/") + self.path.removeprefix("/packages")
            try:
                with urllib.request.urlopen(wanted, timeout=TIMEOUT_S) as answer:  # noqa: S310
                    content = answer.read()
            except OSError as error:
                status = error.code if isinstance(error, urllib.error.HTTPError) else 502
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server((address, 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
