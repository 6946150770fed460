"""A download goes on where it broke off, and never mixes two versions of a thing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from smc_eval.download.http import discard, download, finish
from smc_eval.errors import DataError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

THING = bytes(range(256)) * 1000


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / ".thing.part"


def broken_off(web: Any, part: Path, after: int = 1000) -> None:
    """A download that got so far."""
    web.things["thing"], web.cut = THING, after
    with pytest.raises(DataError, match=f"broke: it ended after {after} of {len(THING)} bytes") as told:
        download(web.address("thing"), part)
    assert "issue the same command again" in str(told.value)
    assert part.read_bytes() == THING[:after]


def test_a_thing_comes_whole_and_gets_its_name_with_nothing_left_beside_it(web: Any, part: Path) -> None:
    web.things["thing"] = THING
    download(web.address("thing"), part)
    finish(part, part.with_name("thing"))
    assert [path.name for path in part.parent.iterdir()] == ["thing"]
    assert part.with_name("thing").read_bytes() == THING


def test_it_goes_on_where_it_broke_off(web: Any, part: Path) -> None:
    broken_off(web, part)
    download(web.address("thing"), part)
    assert part.read_bytes() == THING
    assert web.asked == [("thing", None), ("thing", "bytes=1000-")]


@pytest.mark.parametrize("manners", [{"weak": True}, {"etags": False, "dated": True}])
def test_it_goes_on_by_a_weak_etag_or_a_date(web: Any, part: Path, manners: dict[str, bool]) -> None:
    vars(web).update(manners)
    broken_off(web, part)
    download(web.address("thing"), part)
    assert part.read_bytes() == THING
    assert web.asked[-1] == ("thing", "bytes=1000-")


def test_it_begins_anew_where_the_server_cannot_go_on(web: Any, part: Path) -> None:
    broken_off(web, part)
    web.ranges = False
    download(web.address("thing"), part)
    assert part.read_bytes() == THING


def test_it_begins_anew_where_nothing_tells_that_it_is_the_same_thing(web: Any, part: Path) -> None:
    web.etags = False
    broken_off(web, part)
    download(web.address("thing"), part)
    assert part.read_bytes() == THING
    assert web.asked == [("thing", None), ("thing", None)]


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("other", [THING[::-1], THING[:500], THING * 2])
def test_a_thing_that_changed_meanwhile_is_never_mixed_with_what_came_before(
    web: Any, part: Path, other: bytes, *, weak: bool
) -> None:
    web.weak = weak
    broken_off(web, part)
    web.things["thing"] = other
    download(web.address("thing"), part)
    assert part.read_bytes() == other


def test_what_came_whole_is_not_asked_for_again(web: Any, part: Path) -> None:
    web.things["thing"] = THING
    download(web.address("thing"), part)
    download(web.address("thing"), part)
    assert len(web.asked) == 1


def test_what_came_from_elsewhere_or_has_no_mark_is_not_gone_on_with(web: Any, part: Path) -> None:
    broken_off(web, part)
    web.things["other"] = b"other"
    download(web.address("other"), part)
    assert part.read_bytes() == b"other"
    for mark in (None, "{", json.dumps({"address": web.address("thing"), "colour": "red"})):
        discard(part)
        part.write_bytes(b"rubbish")
        if mark is not None:
            part.with_name(f"{part.name}.mark").write_text(mark)
        download(web.address("thing"), part)
        assert part.read_bytes() == THING


def test_a_thing_of_unknown_length_comes_too(web: Any, part: Path) -> None:
    web.things["thing"] = THING
    web.sized = False
    assert not download(web.address("thing"), part)  # nothing tells that it is whole
    assert part.read_bytes() == THING
    web.sized = True
    assert download(web.address("thing"), part)
    assert part.read_bytes() == THING


def test_what_is_not_there_is_told_by_address_and_code(web: Any, part: Path) -> None:
    with pytest.raises(DataError, match=r"/thing answers 404 Not Found; .*smc-eval data list"):
        download(web.address("thing"), part)
    assert not part.exists()


def test_a_server_that_does_not_answer_is_told(web: Any, part: Path) -> None:
    with pytest.raises(DataError, match="cannot reach http://127.0.0.1:9/thing: ") as told:
        download("http://127.0.0.1:9/thing", part)
    assert len(str(told.value).splitlines()) == 2


def test_a_thing_that_comes_packed_is_refused(web: Any, part: Path) -> None:
    web.coding, web.things["thing"] = "gzip", THING
    with pytest.raises(DataError, match="comes as gzip, which nobody asked for"):
        download(web.address("thing"), part)
    assert not part.exists()


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/thing", "file:///etc/hostname", "thing"])
def test_only_the_web_is_asked(part: Path, address: str) -> None:
    with pytest.raises(DataError, match="is no address of the web; wanted http:// or https://"):
        download(address, part)


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/thing", "file:///etc/hostname"])
def test_no_server_can_lead_elsewhere(web: Any, part: Path, address: str) -> None:
    web.moved["thing"] = address
    with pytest.raises(DataError):
        download(web.address("thing"), part)
    assert not part.exists()


def test_a_thing_that_moved_is_followed_to_where_it_is_and_gone_on_with_there(web: Any, part: Path) -> None:
    web.moved["old"] = web.address("thing")
    web.things["thing"], web.cut = THING, 10
    with pytest.raises(DataError, match="broke"):
        download(web.address("old"), part)
    download(web.address("old"), part)
    assert part.read_bytes() == THING
    assert web.asked[-1] == ("thing", "bytes=10-")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told(web: Any, part: Path) -> None:
    web.things["thing"] = THING
    part.symlink_to("/dev/full")
    with pytest.raises(DataError, match=rf"cannot write {part}: No space left on device; make room"):
        download(web.address("thing"), part)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(web: Any, part: Path) -> None:
    web.things["thing"] = THING
    part.parent.chmod(0o500)
    try:
        with pytest.raises(DataError, match="cannot write"):
            download(web.address("thing"), part)
    finally:
        part.parent.chmod(0o700)
