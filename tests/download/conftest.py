"""A web server on this machine, whose manners a test can choose."""

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
    """What is served and how; `asked` holds each request's path and range."""

    things: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    etags: bool = True
    weak: bool = False
    dated: bool = False
    sized: bool = True
    cut: int | None = None
    """Break the next answer off after so many bytes."""
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
        self.web.asked.append((name, wanted))
        if name in self.web.moved:
            self.send_response(302)
            self.send_header("Location", self.web.moved[name])
            self.end_headers()
        elif name not in self.web.things:
            self.send_error(404)
        else:
            self._answer(self.web.things[name], wanted)
        self.close_connection = True

    def _answer(self, content: bytes, wanted: str | None) -> None:
        fresh = self.headers["If-Range"] in {None, self.web.etag(content)}
        first = int(wanted.removeprefix("bytes=")[:-1]) if wanted and self.web.ranges and fresh else 0
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
        told = {
            "Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}" if first else "",
            "Content-Length": str(len(content) - first) if web.sized else "",
            "ETag": web.etag(content) if web.etags else "",
            "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT" if web.dated else "",
            "Content-Encoding": web.coding,
        }
        return {name: value for name, value in told.items() if value}

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
