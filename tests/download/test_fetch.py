"""Data files are fetched complete and verified, or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smc_eval.data_file import DataFile
from smc_eval.download.fetch import LEASES_FOLDER, fetch_files
from smc_eval.errors import DataError, PluginError
from smc_eval.files.lease import Leases

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

TRAIN, DEV = b"train " * 1000, b"dev"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[..., list[str]]:
    """Fetches into `tmp_path`, and returns the reported lines."""

    def fetch(*needs: DataFile) -> list[str]:
        lines = list[str]()
        fetch_files(needs, tmp_path, lines.append)
        return lines

    return fetch


def pinned(web: Any, name: str, content: bytes, **fields: Any) -> DataFile:
    web.files[name] = content
    return DataFile(f"set/{name}", "MIT", web.address(name), **{"sha256": sha256(content), **fields})


def archived(web: Any, *paths: str, **files: bytes) -> list[DataFile]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tape:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("_", "/"))
            entry.size = len(content)
            tape.addfile(entry, io.BytesIO(content))
    web.files["set.tar.gz"] = packed.getvalue()
    digest = sha256(packed.getvalue())
    return [DataFile(path, "MIT", web.address("set.tar.gz"), digest) for path in paths]


def test_each_file_is_fetched_once(web: Any, tmp_path: Path, fetched: Callable[..., list[str]]) -> None:
    needs = [pinned(web, "train.csv", TRAIN), pinned(web, "dev.csv", DEV)]
    fetched(*needs, *needs)
    assert contents(tmp_path) == {"set/train.csv": TRAIN, "set/dev.csv": DEV}
    assert fetched(*needs) == [f"{one.path}: already there, sha256 as pinned" for one in needs]
    assert len(web.requests) == 2


def test_a_compressed_file_with_the_right_checksum_is_not_fetched(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv.gz").write_bytes(gzip.compress(TRAIN))
    assert fetched(need) == ["set/train.csv: already there, sha256 as pinned"]
    assert web.requests == []


def test_an_existing_file_with_a_wrong_checksum_is_left_and_reported(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_bytes(b"mine")
    with pytest.raises(
        DataError, match="exists, but its checksum is not the pinned one; move it away"
    ) as caught:
        fetched(need)
    assert sha256(b"mine") in str(caught.value) and sha256(TRAIN) in str(caught.value)
    assert contents(tmp_path) == {"set/train.csv": b"mine"}


def test_a_broken_download_leaves_no_file_of_that_name_and_is_resumed(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN)
    web.cut = 100
    with pytest.raises(DataError, match="the partial download is kept"):
        fetched(need)
    assert not (tmp_path / "set" / "train.csv").exists()
    fetched(need)
    assert contents(tmp_path) == {"set/train.csv": TRAIN}
    assert web.requests[-1] == ("train.csv", "bytes=100-")


def test_a_download_with_a_wrong_checksum_is_deleted_and_both_checksums_are_reported(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN, sha256=sha256(b"other"))
    with pytest.raises(DataError, match="train.csv does not have the pinned checksum") as caught:
        fetched(need)
    assert sha256(TRAIN) in str(caught.value) and sha256(b"other") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3
    assert contents(tmp_path) == {}


def test_a_file_without_a_known_checksum_is_fetched_with_a_warning(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    lines = fetched(pinned(web, "train.csv", TRAIN, sha256=""))
    assert any(line.startswith("no known checksum for ") and sha256(TRAIN) in line for line in lines)
    assert contents(tmp_path) == {"set/train.csv": TRAIN}
    assert fetched(pinned(web, "train.csv", TRAIN, sha256="")) == [
        "set/train.csv: already there, not checked"
    ]


def test_a_file_with_neither_length_nor_checksum_is_refused(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    web.sized, web.cut = False, 100
    with pytest.raises(DataError, match="gives no length, and no checksum is known"):
        fetched(pinned(web, "train.csv", TRAIN, sha256=""))
    assert contents(tmp_path) == {}
    fetched(pinned(web, "train.csv", TRAIN))
    assert contents(tmp_path) == {"set/train.csv": TRAIN}


def test_an_archive_is_fetched_once_and_existing_files_are_kept(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    needs = archived(web, "a/", "b/", "c", a_1=b"one", a_2=b"two", b_1=b"three", c=b"four")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1").write_bytes(b"mine")
    fetched(*needs)
    assert contents(tmp_path) == {"a/1": b"one", "a/2": b"two", "b/1": b"mine", "c": b"four"}
    assert fetched(*needs) == [f"{path}: already there, not checked" for path in ("a/", "b/", "c")]
    assert len(web.requests) == 1


def test_a_broken_download_of_an_archive_is_resumed(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    (need,) = archived(web, "a/", a_1=b"one")
    web.cut = 20
    with pytest.raises(DataError, match="the partial download is kept"):
        fetched(need)
    assert not (tmp_path / "a").exists()
    fetched(need)
    assert contents(tmp_path) == {"a/1": b"one"}
    assert web.requests[-1] == ("set.tar.gz", "bytes=20-")


def test_a_file_that_is_not_an_archive_leaves_nothing(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    web.files["set.zip"] = b"<html>moved</html>"
    with pytest.raises(DataError, match="set.zip is not a complete archive"):
        fetched(DataFile("set/", "MIT", web.address("set.zip")))
    assert contents(tmp_path) == {}


def test_files_without_an_address_are_returned_and_the_others_are_fetched(web: Any, tmp_path: Path) -> None:
    lone = DataFile("rare/", "MIT", note="ask its authors")
    assert fetch_files([lone, pinned(web, "dev.csv", DEV)], tmp_path, lambda _: None) == [lone]
    assert contents(tmp_path) == {"set/dev.csv": DEV}
    (tmp_path / "rare").mkdir()
    assert fetch_files([lone], tmp_path, lambda _: None) == [lone]  # an empty folder does not count
    (tmp_path / "rare" / "file").touch()
    assert fetch_files([lone], tmp_path, lambda _: None) == []


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lease of `tmp_path` until it is killed."""
    code = (
        "import sys; from pathlib import Path; from smc_eval.files.lease import Leases; "
        f"folder = Path({str(tmp_path / LEASES_FOLDER)!r}); folder.mkdir(); "
        "lease = Leases(folder).take('fetch'); print(lease is not None, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_into_which_another_process_fetches_is_refused_by_name(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]], other_process: subprocess.Popen[str]
) -> None:
    with pytest.raises(DataError, match=f"another smc-eval is fetching into {tmp_path}; wait for it to end"):
        fetched(pinned(web, "dev.csv", DEV))
    assert web.requests == []
    assert not (tmp_path / "set").exists()


def test_the_lease_of_a_dead_process_does_not_block(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]], other_process: subprocess.Popen[str]
) -> None:
    other_process.kill()
    other_process.communicate()
    assert (tmp_path / LEASES_FOLDER / "fetch").is_dir()
    fetched(pinned(web, "dev.csv", DEV))
    assert contents(tmp_path) == {"set/dev.csv": DEV}
    assert not (tmp_path / LEASES_FOLDER).exists()


def test_the_lease_is_held_while_files_are_fetched_and_its_folder_is_gone_afterwards(
    web: Any, tmp_path: Path
) -> None:
    refused = list[bool]()

    def report(_line: str) -> None:
        refused.append(Leases(tmp_path / LEASES_FOLDER).take("fetch") is None)

    fetch_files([pinned(web, "dev.csv", DEV)], tmp_path, report)
    assert refused == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    wrong = pinned(web, "train.csv", TRAIN, sha256=sha256(b"other"))
    with pytest.raises(DataError, match="does not have the pinned checksum"):
        fetch_files([wrong], tmp_path, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_file_with_the_name_of_the_folder_is_reported(web: Any, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(DataError, match=f"cannot write to {place}: "):
        fetch_files([pinned(web, "dev.csv", DEV)], place, lambda _: None)
    (tmp_path / "set").touch()
    with pytest.raises(DataError, match="cannot write to"):
        fetch_files([pinned(web, "dev.csv", DEV)], tmp_path, lambda _: None)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_data_file_outside_the_data_folder_is_refused(path: str) -> None:
    with pytest.raises(PluginError, match="wanted a path under the data folder"):
        DataFile(path, "MIT")


def test_a_malformed_checksum_is_refused() -> None:
    with pytest.raises(PluginError, match="the sha256 of 'a' is 'ABC'; wanted 64 hexadecimal digits"):
        DataFile("a", "MIT", sha256="ABC")
