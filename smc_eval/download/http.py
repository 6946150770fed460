"""A download that may break off: what came is kept beside its name to be, and the next try goes on there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any, cast
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from smc_eval.errors import DataError

SCHEMES = ("http", "https")

CONNECTION_TIMEOUT = 30
"""Seconds without a byte after which a connection counts as broken."""

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Mark:
    """What a server says of a thing, by which its bytes are known again."""

    address: str
    etag: str = ""
    modified: str = ""
    length: int | None = None

    def same(self, other: Mark) -> bool:
        """Whether both are of the same bytes: what both tell is equal, and that is more than a length."""
        named = [(self.etag, other.etag), (self.modified, other.modified)]
        told = [one == two for one, two in named if one and two]
        lengths = {self.length, other.length} - {None}
        return self.address == other.address and bool(told) and all(told) and len(lengths) < 2


def download(address: str, part: Path) -> bool:
    """Make the file `part` hold all that lies at an address, from where an earlier try left off.

    True where the server told the end, so that it is known to be whole; without that, a broken
    connection looks like an end.

    Beside it lies a `.mark`, until `discard` or `finish`; where the server's thing has changed since,
    or the server cannot go on half-way, it begins anew.

    Raises:
        DataError: there is no such thing, no connection, it broke, or nothing can be written.
    """
    if urlsplit(address).scheme not in SCHEMES:
        raise DataError(f"{address} is no address of the web; wanted http:// or https://")
    held, mark = _held(address, part)
    if mark and held == mark.length:
        return True
    with _asked(address, part, held, mark) as (response, now, begun):
        try:
            with part.open("ab" if begun else "wb") as stream:
                _note(part, now)  # once older bytes are gone, or they would be taken for the thing's
                _pour(response, stream, address)
        except OSError as error:
            raise DataError(
                f"cannot write {part}: {error.strerror or error}; make room, and try again"
            ) from None
    if now.length is not None and (came := part.stat().st_size) != now.length:
        raise _broken(address, f"it ended after {came} of {now.length} bytes")
    return now.length is not None or response.chunked


def finish(part: Path, target: Path) -> None:
    """Give what was downloaded its name, at once and whole."""
    part.replace(target)
    _mark(part).unlink(missing_ok=True)


def discard(part: Path) -> None:
    """Forget what was downloaded."""
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)


class _Redirects(request.HTTPRedirectHandler):
    """Never from https to http, where anyone on the way could change what comes."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise URLError(f"it leads on to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """What speaks http and https and nothing else: no redirect can lead to a file or to ftp."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPErrorProcessor,
        request.HTTPDefaultErrorHandler,
        request.UnknownHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


@contextmanager
def _asked(
    address: str, part: Path, held: int, mark: Mark | None
) -> Iterator[tuple[HTTPResponse, Mark, bool]]:
    """The server's answer, what it says of the thing, and whether it goes on behind the `held` bytes."""
    headers = {"User-Agent": "smc-eval"}
    if mark:
        headers["Range"] = f"bytes={held}-"
        if mark.etag and not mark.etag.startswith("W/"):
            headers["If-Range"] = mark.etag
    asking = request.Request(address, headers=headers)  # noqa: S310  the scheme has been looked at
    try:
        with _told(address):
            response = cast("HTTPResponse", _opener().open(asking, timeout=CONNECTION_TIMEOUT))
    except _NotThatRange:
        begun = False
    else:
        with response:
            now, first = _said(address, response)
            begun = mark is not None and first == held and mark.same(now)
            if begun or first == 0:
                yield response, now, begun
                return
    discard(part)  # what lies there now is no longer what we hold
    with _asked(address, part, 0, None) as anew:
        yield anew


class _NotThatRange(Exception):
    """The thing ends before the bytes that were asked for."""


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Whatever goes wrong with a server or the way there, told in words."""
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code == 416:
            raise _NotThatRange from None
        raise DataError(
            f"{address} answers {error.code} {error.reason}; it may have moved: get the file by hand, "
            "see smc-eval data list"
        ) from None
    except (HTTPException, OSError) as error:  # URLError is one
        reason = error.reason if isinstance(error, URLError) else error
        told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise DataError(
            f"cannot reach {address}: {told}\n"
            "fetch where there is a connection, and copy the data folder; or get the file by hand"
        ) from None


def _said(address: str, response: HTTPResponse) -> tuple[Mark, int]:
    """What the answer says of the thing, and with which of its bytes it begins; -1 where that is unclear."""
    head = response.headers
    if (coding := head.get("Content-Encoding", "identity")) != "identity":
        raise DataError(f"{address} comes as {coding}, which nobody asked for; get the file by hand")
    first, length = 0, head.get("Content-Length")
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", head.get("Content-Range", ""))
        first, length = (int(found[1]), found[2]) if found else (-1, None)
    whole = int(length) if length and length.isdecimal() else None
    return Mark(address, head.get("ETag", ""), head.get("Last-Modified", ""), whole), first


def _pour(response: HTTPResponse, stream: IO[bytes], address: str) -> None:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (HTTPException, OSError) as error:
            stream.flush()
            raise _broken(address, str(error) or type(error).__name__) from None
        if not chunk:
            break
        stream.write(chunk)
    stream.flush()
    os.fsync(stream.fileno())  # before it gets its name: a name is a promise that it is whole


def _broken(address: str, why: str) -> DataError:
    return DataError(
        f"the connection to {address} broke: {why}\n"
        "what came is kept: issue the same command again to go on from there"
    )


def _mark(part: Path) -> Path:
    return part.with_name(f"{part.name}.mark")


def _note(part: Path, mark: Mark) -> None:
    _mark(part).write_text(json.dumps(asdict(mark)), encoding="utf-8")


def _held(address: str, part: Path) -> tuple[int, Mark | None]:
    """How many bytes an earlier try left, and of what; nothing where it cannot be known again."""
    try:
        told: dict[str, Any] = json.loads(_mark(part).read_text(encoding="utf-8"))
        mark, held = Mark(**told), part.stat().st_size
    except (OSError, ValueError, TypeError):
        return 0, None
    return (held, mark) if held and mark.address == address and mark.same(mark) else (0, None)
