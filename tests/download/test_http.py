"""A download is resumed after a break, and never mixes two versions of a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from smc_eval.download.http import discard, download, finish
from smc_eval.errors import DataError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / ".thing.part"


def break_off(web: Any, part: Path, after: int = 1000) -> None:
    """A download that broke after some bytes."""
    web.files["thing"], web.cut = CONTENT, after
    with pytest.raises(DataError, match=f"broke: it ended after {after} of {len(CONTENT)} bytes") as caught:
        download(web.address("thing"), part)
    assert "run the same command again" in str(caught.value)
    assert part.read_bytes() == CONTENT[:after]


def test_a_finished_download_has_its_final_name_and_leaves_no_other_file(web: Any, part: Path) -> None:
    web.files["thing"] = CONTENT
    download(web.address("thing"), part)
    finish(part, part.with_name("thing"))
    assert [path.name for path in part.parent.iterdir()] == ["thing"]
    assert part.with_name("thing").read_bytes() == CONTENT


def test_a_broken_download_is_resumed(web: Any, part: Path) -> None:
    break_off(web, part)
    download(web.address("thing"), part)
    assert part.read_bytes() == CONTENT
    assert web.requests == [("thing", None), ("thing", "bytes=1000-")]


@pytest.mark.parametrize("behaviour", [{"weak": True}, {"etags": False, "dated": True}])
def test_a_weak_etag_or_a_date_is_enough_to_resume(web: Any, part: Path, behaviour: dict[str, bool]) -> None:
    vars(web).update(behaviour)
    break_off(web, part)
    download(web.address("thing"), part)
    assert part.read_bytes() == CONTENT
    assert web.requests[-1] == ("thing", "bytes=1000-")


def test_the_download_starts_again_if_the_server_cannot_resume(web: Any, part: Path) -> None:
    break_off(web, part)
    web.ranges = False
    download(web.address("thing"), part)
    assert part.read_bytes() == CONTENT


def test_the_download_starts_again_if_the_server_gives_neither_etag_nor_date(web: Any, part: Path) -> None:
    web.etags = False
    break_off(web, part)
    download(web.address("thing"), part)
    assert part.read_bytes() == CONTENT
    assert web.requests == [("thing", None), ("thing", None)]


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("other", [CONTENT[::-1], CONTENT[:500], CONTENT * 2])
def test_a_file_that_changed_on_the_server_is_never_mixed_with_older_bytes(
    web: Any, part: Path, other: bytes, *, weak: bool
) -> None:
    web.weak = weak
    break_off(web, part)
    web.files["thing"] = other
    download(web.address("thing"), part)
    assert part.read_bytes() == other


def test_a_complete_download_is_not_requested_again(web: Any, part: Path) -> None:
    web.files["thing"] = CONTENT
    download(web.address("thing"), part)
    download(web.address("thing"), part)
    assert len(web.requests) == 1


def test_a_partial_file_of_another_address_or_without_a_mark_is_not_resumed(web: Any, part: Path) -> None:
    break_off(web, part)
    web.files["other"] = b"other"
    download(web.address("other"), part)
    assert part.read_bytes() == b"other"
    for mark in (None, "{", json.dumps({"address": web.address("thing"), "colour": "red"})):
        discard(part)
        part.write_bytes(b"rubbish")
        if mark is not None:
            part.with_name(f"{part.name}.mark").write_text(mark)
        download(web.address("thing"), part)
        assert part.read_bytes() == CONTENT


def test_a_file_of_unknown_length_is_downloaded(web: Any, part: Path) -> None:
    web.files["thing"] = CONTENT
    web.sized = False
    assert not download(web.address("thing"), part)  # not known to be complete
    assert part.read_bytes() == CONTENT
    web.sized = True
    assert download(web.address("thing"), part)
    assert part.read_bytes() == CONTENT


def test_a_missing_file_is_reported_with_address_and_status(web: Any, part: Path) -> None:
    with pytest.raises(DataError, match=r"/thing answers 404 Not Found; .*smc-eval data list"):
        download(web.address("thing"), part)
    assert not part.exists()


def test_an_unreachable_server_is_reported(web: Any, part: Path) -> None:
    with pytest.raises(DataError, match="cannot reach http://127.0.0.1:9/thing: ") as caught:
        download("http://127.0.0.1:9/thing", part)
    assert len(str(caught.value).splitlines()) == 2


def test_an_encoding_that_was_not_requested_is_refused(web: Any, part: Path) -> None:
    web.coding, web.files["thing"] = "gzip", CONTENT
    with pytest.raises(DataError, match="was sent with the encoding gzip, which was not requested"):
        download(web.address("thing"), part)
    assert not part.exists()


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/thing", "file:///etc/hostname", "thing"])
def test_only_web_addresses_are_accepted(part: Path, address: str) -> None:
    with pytest.raises(DataError, match="is not a web address; wanted http:// or https://"):
        download(address, part)


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/thing", "file:///etc/hostname"])
def test_a_redirect_to_another_scheme_is_refused(web: Any, part: Path, address: str) -> None:
    web.moved["thing"] = address
    with pytest.raises(DataError):
        download(web.address("thing"), part)
    assert not part.exists()


def test_a_redirected_download_is_resumed(web: Any, part: Path) -> None:
    web.moved["old"] = web.address("thing")
    web.files["thing"], web.cut = CONTENT, 10
    with pytest.raises(DataError, match="broke"):
        download(web.address("old"), part)
    download(web.address("old"), part)
    assert part.read_bytes() == CONTENT
    assert web.requests[-1] == ("thing", "bytes=10-")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_reported(web: Any, part: Path) -> None:
    web.files["thing"] = CONTENT
    part.symlink_to("/dev/full")
    with pytest.raises(DataError, match=rf"cannot write {part}: No space left on device; make room"):
        download(web.address("thing"), part)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_reported(web: Any, part: Path) -> None:
    web.files["thing"] = CONTENT
    part.parent.chmod(0o500)
    try:
        with pytest.raises(DataError, match="cannot write"):
            download(web.address("thing"), part)
    finally:
        part.parent.chmod(0o700)
