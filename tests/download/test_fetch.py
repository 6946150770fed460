"""What tasks need is fetched whole and right, or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from smc_eval.data_file import DataFile
from smc_eval.download.fetch import LOCK, fetch_files
from smc_eval.errors import DataError, PluginError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

TRAIN, DEV = b"train " * 1000, b"dev"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def held(folder: Path) -> dict[str, bytes]:
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files.pop(LOCK, None)
    return files


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[..., list[str]]:
    """Fetches into `tmp_path`, and gives what was said."""

    def ran(*needs: DataFile) -> list[str]:
        said = list[str]()
        fetch_files(needs, tmp_path, said.append)
        return said

    return ran


def pinned(web: Any, name: str, content: bytes, **fields: Any) -> DataFile:
    web.things[name] = content
    return DataFile(f"set/{name}", "MIT", web.address(name), **{"sha256": sha256(content), **fields})


def archived(web: Any, *paths: str, **files: bytes) -> list[DataFile]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tape:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("_", "/"))
            entry.size = len(content)
            tape.addfile(entry, io.BytesIO(content))
    web.things["set.tar.gz"] = packed.getvalue()
    digest = sha256(packed.getvalue())
    return [DataFile(path, "MIT", web.address("set.tar.gz"), digest) for path in paths]


def test_each_file_is_fetched_once_and_then_there_is_nothing_to_do(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    needs = [pinned(web, "train.csv", TRAIN), pinned(web, "dev.csv", DEV)]
    fetched(*needs, *needs)
    assert held(tmp_path) == {"set/train.csv": TRAIN, "set/dev.csv": DEV}
    assert fetched(*needs) == [f"{one.path}: there already, sha256 as pinned" for one in needs]
    assert len(web.asked) == 2


def test_what_is_there_packed_and_right_is_not_fetched(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv.gz").write_bytes(gzip.compress(TRAIN))
    assert fetched(need) == ["set/train.csv: there already, sha256 as pinned"]
    assert web.asked == []


def test_what_is_there_and_not_right_is_left_and_told(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_bytes(b"mine")
    with pytest.raises(DataError, match="is there and is not what was pinned; move it away") as told:
        fetched(need)
    assert sha256(b"mine") in str(told.value) and sha256(TRAIN) in str(told.value)
    assert held(tmp_path) == {"set/train.csv": b"mine"}


def test_a_download_that_broke_off_leaves_no_file_of_that_name_and_is_gone_on_with(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN)
    web.cut = 100
    with pytest.raises(DataError, match="what came is kept"):
        fetched(need)
    assert not (tmp_path / "set" / "train.csv").exists()
    fetched(need)
    assert held(tmp_path) == {"set/train.csv": TRAIN}
    assert web.asked[-1] == ("train.csv", "bytes=100-")


def test_a_wrong_checksum_leaves_nothing_and_tells_both(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "train.csv", TRAIN, sha256=sha256(b"other"))
    with pytest.raises(DataError, match="train.csv holds something else than was pinned") as told:
        fetched(need)
    assert sha256(TRAIN) in str(told.value) and sha256(b"other") in str(told.value)
    assert len(str(told.value).splitlines()) == 3
    assert held(tmp_path) == {}


def test_what_no_checksum_vouches_for_is_said_loudly_with_the_one_it_has(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    said = fetched(pinned(web, "train.csv", TRAIN, sha256=""))
    assert any(line.startswith("NOT PINNED: ") and sha256(TRAIN) in line for line in said)
    assert held(tmp_path) == {"set/train.csv": TRAIN}
    assert fetched(pinned(web, "train.csv", TRAIN, sha256="")) == [
        "set/train.csv: there already, taken as it is"
    ]


def test_what_has_neither_a_length_nor_a_checksum_is_not_taken(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    web.sized, web.cut = False, 100
    with pytest.raises(DataError, match="does not say how long it is, and no checksum is known"):
        fetched(pinned(web, "train.csv", TRAIN, sha256=""))
    assert held(tmp_path) == {}
    fetched(pinned(web, "train.csv", TRAIN))
    assert held(tmp_path) == {"set/train.csv": TRAIN}


def test_an_archive_is_fetched_once_for_all_it_holds_and_what_is_there_is_kept(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    needs = archived(web, "a/", "b/", "c", a_1=b"one", a_2=b"two", b_1=b"three", c=b"four")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1").write_bytes(b"mine")
    fetched(*needs)
    assert held(tmp_path) == {"a/1": b"one", "a/2": b"two", "b/1": b"mine", "c": b"four"}
    assert fetched(*needs) == [f"{path}: there already, taken as it is" for path in ("a/", "b/", "c")]
    assert len(web.asked) == 1


def test_an_archive_that_broke_off_is_gone_on_with(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    (need,) = archived(web, "a/", a_1=b"one")
    web.cut = 20
    with pytest.raises(DataError, match="what came is kept"):
        fetched(need)
    assert not (tmp_path / "a").exists()
    fetched(need)
    assert held(tmp_path) == {"a/1": b"one"}
    assert web.asked[-1] == ("set.tar.gz", "bytes=20-")


def test_an_archive_that_is_none_leaves_nothing(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    web.things["set.zip"] = b"<html>moved</html>"
    with pytest.raises(DataError, match="set.zip is no whole archive"):
        fetched(DataFile("set/", "MIT", web.address("set.zip")))
    assert held(tmp_path) == {}


def test_what_has_no_address_is_given_back_and_the_rest_is_fetched(web: Any, tmp_path: Path) -> None:
    lone = DataFile("rare/", "MIT", note="ask its authors")
    assert fetch_files([lone, pinned(web, "dev.csv", DEV)], tmp_path, lambda _: None) == [lone]
    assert held(tmp_path) == {"set/dev.csv": DEV}
    (tmp_path / "rare").mkdir()
    assert fetch_files([lone], tmp_path, lambda _: None) == [lone]  # an empty folder is nothing
    (tmp_path / "rare" / "file").touch()
    assert fetch_files([lone], tmp_path, lambda _: None) == []


def test_two_do_not_fetch_into_one_folder(
    web: Any, tmp_path: Path, fetched: Callable[..., list[str]]
) -> None:
    need = pinned(web, "dev.csv", DEV)
    with FileLock(tmp_path / LOCK), pytest.raises(DataError, match="another smc-eval fetches into"):
        fetched(need)
    fetched(need)
    assert held(tmp_path) == {"set/dev.csv": DEV}


def test_a_file_in_the_folders_place_is_told(web: Any, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(DataError, match=f"cannot write to {place}: "):
        fetch_files([pinned(web, "dev.csv", DEV)], place, lambda _: None)
    (tmp_path / "set").touch()
    with pytest.raises(DataError, match="cannot write to"):
        fetch_files([pinned(web, "dev.csv", DEV)], tmp_path, lambda _: None)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ""])
def test_no_task_can_need_what_lies_outside_the_data_folder(path: str) -> None:
    with pytest.raises(PluginError, match="wanted a path under the data folder"):
        DataFile(path, "MIT")


def test_a_checksum_that_none_can_have_is_refused() -> None:
    with pytest.raises(PluginError, match="the sha256 of 'a' is 'ABC'; wanted 64 hexadecimal digits"):
        DataFile("a", "MIT", sha256="ABC")
