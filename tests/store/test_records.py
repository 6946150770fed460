"""The book of results: what is read was written whole, by us, in this form."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import StoreError
from smc_eval.score import Score
from smc_eval.spec import digest
from smc_eval.store import records
from smc_eval.store.record import RECORD_SCHEMA, failed_record, scored_record
from smc_eval.store.records import RECORDS_NAME, RecordsFile
from smc_eval.testing import record_with

RECORD = record_with(
    task="t/a",
    group="t",
    method="lth:share=0.1",
    digest="d1",
    status="skipped",
    score=None,
    sparsity=None,
    certificate=None,
    cost=None,
    versions={},
)


def sealed(**fields: Any) -> str:
    """A line of a book, its seal true whatever the fields say."""
    record = {"schema": RECORD_SCHEMA, **RECORD.to_json(), **fields}
    return json.dumps({**record, "seal": digest(record)}) + "\n"


def test_what_is_added_is_read_again_by_any_book_of_the_folder(tmp_path: Path) -> None:
    one, two = RECORD, replace(RECORD, digest="d2", task="naïve – 模型", reason="a\nb")
    writer = RecordsFile(tmp_path / "made" / "on the way")
    writer.add(one)
    writer.add(two)
    for book in (writer, RecordsFile(writer.path.parent)):
        assert book.latest() == {"d1": one, "d2": two}
        assert book.broken == 0


def test_a_folder_without_a_book_holds_no_records(tmp_path: Path) -> None:
    assert RecordsFile(tmp_path / "absent").latest() == {}


def test_the_newest_record_of_a_cell_counts(tmp_path: Path) -> None:
    book = RecordsFile(tmp_path)
    book.add(failed_record(RECORD, "out of memory"))
    done = scored_record(RECORD, Score("accuracy (%)", 80.0, 100), certificate={"ok": True})
    book.add(done)
    assert RecordsFile(tmp_path).latest() == {"d1": done}


def test_what_another_process_adds_is_seen_at_the_next_look(tmp_path: Path) -> None:
    reader, writer = RecordsFile(tmp_path), RecordsFile(tmp_path)
    assert reader.latest() == {}
    writer.add(RECORD)
    assert set(reader.latest()) == {"d1"}
    writer.add(replace(RECORD, digest="d2"))
    assert set(reader.latest()) == {"d1", "d2"}


def test_a_last_line_cut_short_is_passed_over_and_the_next_begins_anew(tmp_path: Path) -> None:
    book = RecordsFile(tmp_path)
    book.add(RECORD)
    book.add(replace(RECORD, digest="d2"))
    whole = book.path.read_bytes()
    book.path.write_bytes(whole[:-20])
    assert set(RecordsFile(tmp_path).latest()) == {"d1"}
    RecordsFile(tmp_path).add(replace(RECORD, digest="d3"))
    after = RecordsFile(tmp_path)
    assert set(after.latest()) == {"d1", "d3"}
    assert after.broken == 1


@given(st.data())
def test_a_book_cut_anywhere_gives_only_whole_records(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    book = RecordsFile(tmp_path_factory.mktemp("store"))
    for number in range(3):
        book.add(replace(RECORD, digest=f"d{number}"))
    whole = book.path.read_bytes()
    kept = data.draw(st.integers(0, len(whole)))
    book.path.write_bytes(whole[:kept])
    assert list(RecordsFile(book.path.parent).latest()) == [
        f"d{number}" for number in range(whole[:kept].count(b"\n"))
    ]


def test_a_line_that_someone_is_still_writing_is_read_when_it_is_whole(tmp_path: Path) -> None:
    book, line = RecordsFile(tmp_path), sealed().encode()
    book.path.write_bytes(line[:40])
    assert book.latest() == {}
    book.path.write_bytes(line)
    assert book.latest() == {"d1": RECORD}
    assert book.broken == 0


@pytest.mark.parametrize(
    "change", [(b'"seed": 0', b'"seed": 1'), (b"skipped", b"ok"), (b'"seal"', b'"sale"')]
)
def test_an_altered_record_is_never_believed(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    book = RecordsFile(tmp_path)
    book.add(RECORD)
    altered = book.path.read_bytes().replace(*change)
    assert altered != book.path.read_bytes()
    book.path.write_bytes(altered)
    assert book.latest() == {}
    assert book.broken == 1


@pytest.mark.parametrize("line", ["", "null", "7", "[]", "{}", '"text"', "{", "\udcff", '{"seal": []}'])
def test_no_rubbish_line_is_read_as_a_record(tmp_path: Path, line: str) -> None:
    book = RecordsFile(tmp_path)
    book.path.write_bytes(line.encode(errors="surrogateescape") + b"\n" + sealed().encode())
    assert book.latest() == {"d1": RECORD}
    assert book.broken == 1


def test_a_sealed_record_with_other_fields_is_passed_over(tmp_path: Path) -> None:
    book = RecordsFile(tmp_path)
    book.path.write_text(sealed(colour="red") + sealed(digest="d2"), encoding="utf-8")
    assert set(book.latest()) == {"d2"}
    assert book.broken == 1


def test_a_book_of_another_schema_is_refused_by_name(tmp_path: Path) -> None:
    book = RecordsFile(tmp_path)
    book.path.write_text(sealed(schema=RECORD_SCHEMA + 1), encoding="utf-8")
    with pytest.raises(StoreError, match=rf"{RECORDS_NAME} was written by another release of smc-eval"):
        book.latest()


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from smc_eval.results import Book, Record
who, folder, text = sys.argv[1:]
record = Record(**__import__("json").loads(text))
book = Book(Path(folder))
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    book.add(replace(record, digest=f"{who}{number}", reason="x" * 5000))
"""


def test_two_processes_that_write_at_once_lose_no_record(tmp_path: Path) -> None:
    text = json.dumps(asdict(RECORD))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, who, str(tmp_path), text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for who in "ab"
    ]
    for writer in writers:  # both stand at the line before either goes
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    book = RecordsFile(tmp_path)
    assert set(book.latest()) == {f"{who}{number}" for who in "ab" for number in range(40)}
    assert book.broken == 0


@pytest.mark.parametrize("size", [10, 1_000, 100_000])
def test_a_disk_that_fills_half_way_leaves_the_book_as_it_was(tmp_path: Path, size: int) -> None:
    book = RecordsFile(tmp_path)
    book.add(RECORD)
    before = book.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))  # room for a part of a record
    try:
        with pytest.raises(StoreError, match=rf"cannot write .*{RECORDS_NAME}: File too large"):
            book.add(replace(RECORD, digest="d2", reason="x" * size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert book.path.read_bytes() == before
    book.add(replace(RECORD, digest="d3"))
    assert set(RecordsFile(tmp_path).latest()) == {"d1", "d3"}


def test_a_record_that_does_not_reach_the_disk_is_taken_back(tmp_path: Path, monkeypatch) -> None:
    book = RecordsFile(tmp_path)
    book.add(RECORD)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(records.os, "fsync", full)
        with pytest.raises(StoreError, match="No space left on device$"):
            book.add(replace(RECORD, digest="d2"))
    assert set(RecordsFile(tmp_path).latest()) == {"d1"}


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match=f"cannot write .*{RECORDS_NAME}"):
        RecordsFile(tmp_path / "file" / "store").add(RECORD)


def test_a_book_that_cannot_be_read_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / RECORDS_NAME).mkdir()
    with pytest.raises(StoreError, match=f"cannot read .*{RECORDS_NAME}: Is a directory"):
        RecordsFile(tmp_path).latest()


def test_only_what_is_done_and_certified_is_sound() -> None:
    score = Score("accuracy (%)", 80.0, 100)
    assert scored_record(RECORD, score, certificate={"ok": True}).sound
    assert not scored_record(RECORD, score, certificate={"ok": False}).sound
    assert not scored_record(RECORD, score).sound
    assert not failed_record(RECORD, "out of memory").sound


def test_a_failed_record_keeps_its_place_and_says_why() -> None:
    result = failed_record(RECORD, "out of memory")
    assert (result.status, result.reason, result.digest, result.score) == (
        "failed",
        "out of memory",
        "d1",
        None,
    )
