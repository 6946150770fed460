"""Downloads that can be resumed: a partial file is kept, and the next try continues it."""

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

from smc_eval.errors import DataError, DownloadError

SCHEMES = ("http", "https")

CONNECTION_TIMEOUT = 30
"""Seconds without a byte after which a connection counts as broken."""

_CHUNK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file as its server describes it. The description shows whether the file has changed."""

    address: str
    etag: str = ""
    modified: str = ""
    length: int | None = None

    def matches(self, other: RemoteFile) -> bool:
        """Whether both describe the same bytes: all known values are equal, among them an ETag or a date."""
        pairs = [(self.etag, other.etag), (self.modified, other.modified)]
        equal = [mine == theirs for mine, theirs in pairs if mine and theirs]
        lengths = {self.length, other.length} - {None}
        return self.address == other.address and bool(equal) and all(equal) and len(lengths) < 2


def download(address: str, part: Path) -> bool:
    """Download an address into the file `part`; an earlier partial download is continued.

    Returns whether the file is known to be complete, because the server gave its length or sent it
    in chunks. Otherwise a broken connection looks like the end of the file.

    A file `.mark` beside `part` describes the remote file, until `discard` or `finish`. The download
    starts again from the beginning if the remote file has changed, or if the server cannot resume.

    Raises:
        DownloadError: there is no such file, the server cannot be reached, the connection broke, or the
            file cannot be written.
    """
    if urlsplit(address).scheme not in SCHEMES:
        raise DataError(f"{address} is not a web address; wanted http:// or https://")
    size, mark = _partial(address, part)
    if mark and size == mark.length:
        return True
    with _response(address, part, size, mark) as (response, remote, resumed):
        try:
            with part.open("ab" if resumed else "wb") as stream:
                _write_mark(part, remote)  # after older bytes are deleted: a mark must not describe them
                _copy(response, stream, address)
        except OSError as error:
            raise DataError(
                f"cannot write {part}: {error.strerror or error}; make room, and try again"
            ) from None
    if remote.length is not None and (size := part.stat().st_size) != remote.length:
        raise _connection_broke(address, f"it ended after {size} of {remote.length} bytes")
    return remote.length is not None or response.chunked


def finish(part: Path, target: Path) -> None:
    """Give a complete download its final name, in one step."""
    part.replace(target)
    _mark_path(part).unlink(missing_ok=True)


def discard(part: Path) -> None:
    """Delete a download."""
    part.unlink(missing_ok=True)
    _mark_path(part).unlink(missing_ok=True)


class _Redirects(request.HTTPRedirectHandler):
    """Follows no redirect from https to http, where the content could be changed on the way."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """An opener for http and https alone, so that no redirect can lead to a local file or to ftp."""
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
def _response(
    address: str, part: Path, size: int, mark: RemoteFile | None
) -> Iterator[tuple[HTTPResponse, RemoteFile, bool]]:
    """The response, the file that it describes, and whether its first byte follows the `size` we have."""
    headers = {"User-Agent": "smc-eval"}
    if mark:
        headers["Range"] = f"bytes={size}-"
        if mark.etag and not mark.etag.startswith("W/"):
            headers["If-Range"] = mark.etag
    query = request.Request(address, headers=headers)  # noqa: S310  the scheme was checked
    try:
        with _readable_errors(address):
            response = cast("HTTPResponse", _opener().open(query, timeout=CONNECTION_TIMEOUT))
    except _RangeNotSatisfiable:
        resumed = False
    else:
        with response:
            remote, first = _described(address, response)
            resumed = mark is not None and first == size and mark.matches(remote)
            if resumed or first == 0:
                yield response, remote, resumed
                return
    discard(part)  # the remote file has changed
    with _response(address, part, 0, None) as from_start:
        yield from_start


class _RangeNotSatisfiable(Exception):
    """The remote file ends before the requested bytes (status 416)."""


@contextmanager
def _readable_errors(address: str) -> Iterator[None]:
    """Turn any failure of the server or the connection into a DownloadError."""
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code == 416:
            raise _RangeNotSatisfiable from None
        raise DownloadError(
            f"{address} answers {error.code} {error.reason}; it may have moved: download the file by hand, "
            "see smc-eval data list"
        ) from None
    except (HTTPException, OSError) as error:  # URLError is one
        reason = error.reason if isinstance(error, URLError) else error
        message = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise DownloadError(
            f"cannot reach {address}: {message}\n"
            "fetch on a machine with a connection, and copy the data folder; or download the file by hand"
        ) from None


def _described(address: str, response: HTTPResponse) -> tuple[RemoteFile, int]:
    """The file that a response describes, and the position of its first byte; -1 if that is unclear."""
    head = response.headers
    if (coding := head.get("Content-Encoding", "identity")) != "identity":
        raise DownloadError(
            f"{address} was sent with the encoding {coding}, which was not requested; "
            "download the file by hand"
        )
    first, length = 0, head.get("Content-Length")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", head.get("Content-Range", ""))
        first, length = (int(match[1]), match[2]) if match else (-1, None)
    size = int(length) if length and length.isdecimal() else None
    return RemoteFile(address, head.get("ETag", ""), head.get("Last-Modified", ""), size), first


def _copy(response: HTTPResponse, stream: IO[bytes], address: str) -> None:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (HTTPException, OSError) as error:
            stream.flush()
            raise _connection_broke(address, str(error) or type(error).__name__) from None
        if not chunk:
            break
        stream.write(chunk)
    stream.flush()
    os.fsync(stream.fileno())  # before it gets its final name, which promises a complete file


def _connection_broke(address: str, reason: str) -> DownloadError:
    return DownloadError(
        f"the connection to {address} broke: {reason}\n"
        "the partial download is kept: run the same command again to continue it"
    )


def _mark_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.mark")


def _write_mark(part: Path, remote: RemoteFile) -> None:
    _mark_path(part).write_text(json.dumps(asdict(remote)), encoding="utf-8")


def _partial(address: str, part: Path) -> tuple[int, RemoteFile | None]:
    """Bytes of an earlier download, and the file they belong to; (0, None) if it cannot be continued."""
    try:
        fields: dict[str, Any] = json.loads(_mark_path(part).read_text(encoding="utf-8"))
        mark, size = RemoteFile(**fields), part.stat().st_size
    except (OSError, ValueError, TypeError):
        return 0, None
    return (size, mark) if size and mark.address == address and mark.matches(mark) else (0, None)
