"""A mirror on this machine that serves files, and misbehaves when it is told to."""

import hashlib
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Mirror:
    """Files by name; ``corrupt`` ones arrive with a byte changed, ``broken`` ones only by half."""

    files: dict[str, bytes]
    address: str = ""
    corrupt: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    requests: Counter = field(default_factory=Counter)

    def checksums(self):
        return {name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in self.files.items()}

    def answer(self, name):
        """Return the bytes to send and the length to announce."""
        data = self.files[name]
        if name in self.corrupt:
            return bytes([data[0] ^ 1]) + data[1:], len(data)
        return (data[: len(data) // 2] if name in self.broken else data), len(data)


@contextmanager
def served(files):
    mirror = Mirror(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            mirror.requests[name] += 1
            if name not in mirror.files:
                self.send_error(404)
                return
            data, length = mirror.answer(name)
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format, *args):
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror.address = f"http://127.0.0.1:{server.server_port}/set/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def serve(monkeypatch):
    """A function that starts a mirror of the given files; every mirror ends with the test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as stack:
        yield lambda files: stack.enter_context(served(files))
