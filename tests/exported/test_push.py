"""Push to the hub: against a server on the loopback interface that speaks its protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.allow_hosts(["127.0.0.1"])]


class Hub(ThreadingHTTPServer):
    """A hub with repositories in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.seen: list[tuple[str, str]] = []
        """Path and authorization of each request."""
        self.breaks = False

    def answer(self, path: str, body: bytes) -> Any:
        """The answer to a POST; None where the hub fails."""
        name = path.partition("/api/models/")[2].partition("/commit/")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.repos.setdefault(name, {})
            self.private[name] = asked.get("private") or asked.get("visibility") == "private"
            return {"url": f"{self.address}/{name}"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if "/preupload/" in path:
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": file["path"], **regular} for file in json.loads(body)["files"]]}
        if self.breaks:
            return None
        lines = [json.loads(line) for line in body.splitlines()]
        for value in (line["value"] for line in lines if line["key"] == "file"):
            self.repos[name][value["path"]] = base64.b64decode(value["content"])
        return {"commitUrl": f"{self.address}/{name}/commit/1", "commitOid": "1" * 40}


class Requests(BaseHTTPRequestHandler):
    """The requests of the client that an upload makes."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization", "")))
        body = json.dumps(content).encode()
        self.send_response(status)
        headers |= {"Content_Type": "application/json", "Content_Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        hub = self.server
        name = self.path.partition("/api/models/")[2].partition("?")[0].partition("/revision")[0]
        if name not in hub.repos:
            self.reply({"error": "no"}, 404, X_Error_Code="RepoNotFound")
            return
        files = [{"rfilename": file} for file in hub.repos[name]]
        self.reply({"id": name, "sha": "1" * 40, "siblings": files, "private": hub.private[name]})

    def do_POST(self) -> None:
        answer = self.server.answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(answer or {"error": "the disk of the hub is full"}, 200 if answer else 507)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()


def program(hub: Hub, where: Path, *words: object, token: str = "hf_secret") -> Any:
    """The program in a process of its own: the client of the hub reads its address at import."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_TOKEN": token}
    environment["HF_HOME"] = str(where / "hf")
    command = [sys.executable, "-m", "smc_eval", *map(str, words)]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


def test_a_folder_is_pushed_whole_into_a_private_repository(hub: Hub, store: Path, tmp_path: Path) -> None:
    ended = program(
        hub, tmp_path, "export", store, "omp-before@0.5", "--to", "out", "--quiet", "--push", "me/net"
    )
    assert ended.returncode == 0, ended.stderr
    assert f"pushed to {hub.address}/me/net" in ended.stdout
    assert "hf_secret" not in ended.stdout + ended.stderr
    ours = {token for path, token in hub.seen if path.startswith(("/api/models/", "/api/repos/"))}
    assert ours == {"Bearer hf_secret"}, hub.seen
    assert hub.private == {"me/net": True}
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert hub.repos["me/net"] == files
    again = program(
        hub, tmp_path, "export", store, "omp-before@0.5", "--to", "two", "--quiet", "--push", "me/net"
    )
    assert again.returncode == 2 and "the repository exists and holds" in again.stderr
    assert not (tmp_path / "two").exists()


def test_a_push_that_fails_leaves_the_folder_and_says_how_to_go_on(
    hub: Hub, store: Path, tmp_path: Path
) -> None:
    hub.breaks = True
    ended = program(
        hub, tmp_path, "export", store, "omp-before@0.5", "--to", "out", "--quiet", "--push", "me/net"
    )
    assert ended.returncode == 1
    assert "was written, and not pushed to me/net" in ended.stderr and "hf upload" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "out/config.json").exists()


@pytest.mark.parametrize(
    ("repo", "token", "message"),
    [("a b", "t", "is no name of a repository"), ("me/net", "", "log in with: hf auth login")],
)
def test_a_repository_that_cannot_take_it_is_refused_first(
    hub: Hub, store: Path, tmp_path: Path, repo: str, token: str, message: str
) -> None:
    words = ("export", store, "omp-before@0.5", "--to", "out", "--push", repo)
    ended = program(hub, tmp_path, *words, token=token)
    assert ended.returncode == 2 and message in ended.stderr
    assert not (tmp_path / "out").exists()
