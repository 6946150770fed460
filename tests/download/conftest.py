"""A web server on this machine. Each test chooses how it behaves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest


@dataclass
class Web:
    """The files that are served, and how; `requests` holds the path and range of each request."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    etags: bool = True
    weak: bool = False
    dated: bool = False
    sized: bool = True
    cut: int | None = None
    """End the next response after this many bytes."""
    moved: dict[str, str] = field(default_factory=dict)
    coding: str = ""
    at: str = ""

    def address(self, name: str) -> str:
        return f"{self.at}/{name}"

    def etag(self, content: bytes) -> str:
        return f'{"W/" * self.weak}"{hashlib.md5(content).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    web: ClassVar[Web]

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers["Range"]
        self.web.requests.append((name, wanted))
        if name in self.web.moved:
            self.send_response(302)
            self.send_header("Location", self.web.moved[name])
            self.end_headers()
        elif name not in self.web.files:
            self.send_error(404)
        else:
            self._respond(self.web.files[name], wanted)
        self.close_connection = True

    def _respond(self, content: bytes, wanted: str | None) -> None:
        unchanged = self.headers["If-Range"] in {None, self.web.etag(content)}
        first = int(wanted.removeprefix("bytes=")[:-1]) if wanted and self.web.ranges and unchanged else 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        for name, value in self._head(content, first).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[first:][: self.web.cut])
        self.web.cut = None

    def _head(self, content: bytes, first: int) -> dict[str, str]:
        web = self.web
        headers = {
            "Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}" if first else "",
            "Content-Length": str(len(content) - first) if web.sized else "",
            "ETag": web.etag(content) if web.etags else "",
            "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT" if web.dated else "",
            "Content-Encoding": web.coding,
        }
        return {name: value for name, value in headers.items() if value}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), {"web": web}))
    web.at = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    server.shutdown()
    thread.join()
    server.server_close()
