"""Unpacking: only wanted files are written, and only inside the target folder."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from smc_eval.download.archive import unpack
from smc_eval.errors import DataError

FILES = {"set/a/1.txt": b"one", "set/a/2.txt": b"two", "set/dev.csv": b"dev", "set/more.csv": b"more"}

KINDS = ("set.zip", "set.tar.gz", "set.tar")


def packed(folder: Path, name: str, files: Mapping[str, bytes]) -> Path:
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as pack:
            for member, content in files.items():
                pack.writestr(member, content)
    else:
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tape:
            for member, content in files.items():
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                tape.addfile(entry, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.mark.parametrize("name", KINDS)
def test_only_wanted_files_and_folders_are_unpacked(tmp_path: Path, home: Path, name: str) -> None:
    archive = packed(tmp_path, name, {**FILES, "set/a/._1.txt": b"junk", "__MACOSX/set/a/1.txt": b"junk"})
    (home / "set" / "a").mkdir(parents=True)
    (home / "set" / "more.csv").write_bytes(b"mine")
    unpack(archive, f"http://web/{name}", ["set/a/", "set/dev.csv"], home)
    wanted = {name: content for name, content in FILES.items() if "more" not in name}
    assert contents(home) == {**wanted, "set/more.csv": b"mine"}
    assert [path.name for path in home.iterdir()] == ["set"]


def test_names_that_begin_with_a_dot_and_slash_are_accepted(tmp_path: Path, home: Path) -> None:
    archive = packed(tmp_path, "set.tar.gz", {f"./{name}": content for name, content in FILES.items()})
    unpack(archive, "http://web/set.tar.gz", ["set/"], home)
    assert contents(home) == FILES


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("member", ["../x", "/x", "set/a/../../../x", "C:/x", "set\\..\\..\\x"])
def test_a_name_that_leads_out_of_the_folder_is_refused_and_nothing_is_written(
    tmp_path: Path, home: Path, name: str, member: str
) -> None:
    archive = packed(tmp_path, name, {**FILES, member: b"bad"})
    with pytest.raises(DataError, match="leads out of its folder; nothing was unpacked"):
        unpack(archive, f"http://web/{name}", ["set/"], home)
    assert contents(home) == {}
    assert not (tmp_path / "x").exists()


def test_a_link_is_refused(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "set.tar.gz"
    with tarfile.open(path, "w:gz") as tape:
        link = tarfile.TarInfo("set/dev.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tape.addfile(link)
    with pytest.raises(DataError, match=r"holds 'set/dev.csv', a link or device"):
        unpack(path, "http://web/set.tar.gz", ["set/dev.csv"], home)
    assert contents(home) == {}


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_written_if_a_wanted_file_is_missing(tmp_path: Path, home: Path, name: str) -> None:
    archive = packed(tmp_path, name, FILES)
    with pytest.raises(DataError, match=rf"the archive http://web/{name} holds no set/b/"):
        unpack(archive, f"http://web/{name}", ["set/a/", "set/b/"], home)
    assert contents(home) == {}


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_nothing_is_written_from_a_truncated_archive(
    tmp_path: Path, home: Path, name: str, share: float
) -> None:
    archive = packed(tmp_path, name, FILES)
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    with pytest.raises(DataError, match="is not a complete archive"):
        unpack(archive, f"http://web/{name}", ["set/a/", "set/more.csv"], home)
    assert contents(home) == {}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_not_an_archive_is_refused(tmp_path: Path, home: Path, name: str) -> None:
    archive = tmp_path / name
    archive.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=f"http://web/{name} is not a complete archive"):
        unpack(archive, f"http://web/{name}", ["set/"], home)
