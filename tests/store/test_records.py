"""The records file: only whole records of this schema are read."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import StoreError
from smc_eval.score import Score
from smc_eval.spec import digest
from smc_eval.store import records
from smc_eval.store.record import RECORD_SCHEMA, Record, failed_record, scored_record
from smc_eval.store.record_line import LineReader, sealed_line
from smc_eval.store.records import RECORDS_NAME, RecordsFile
from smc_eval.testing import record_with

CERTIFICATE = record_with().certificate
assert CERTIFICATE is not None

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
    """A line of a records file, with any fields and the right seal."""
    record = {"schema": RECORD_SCHEMA, **RECORD.to_json(), **fields}
    return json.dumps({**record, "seal": digest(record)}) + "\n"


def test_added_records_are_read_by_every_reader_of_the_folder(tmp_path: Path) -> None:
    other = replace(RECORD, digest="d2", task="naïve – 模型", reason="a\nb")
    writer = RecordsFile(tmp_path / "new" / "folders")
    writer.add(RECORD)
    writer.add(other)
    for file in (writer, RecordsFile(writer.path.parent)):
        assert file.latest() == {"d1": RECORD, "d2": other}
        assert file.broken == 0


def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that any reader reads as records from now on."""
    lines, read = list[bytes](), LineReader.record

    def counted(reader: LineReader, line: bytes) -> Record:
        lines.append(line)
        return read(reader, line)

    monkeypatch.setattr(LineReader, "record", counted)
    return lines


def test_each_line_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RecordsFile(tmp_path)
    for number in range(3):
        file.add(replace(RECORD, digest=f"d{number}"))
    lines, reader = lines_read(monkeypatch), RecordsFile(tmp_path)
    assert len(reader.latest()) == len(lines) == 3
    assert reader.get("d2") and len(reader.latest()) == 3 and len(lines) == 3
    assert reader.bytes_read == file.path.stat().st_size
    with file.path.open("ab") as more:
        more.write(sealed_line(replace(RECORD, digest="d3")))
    assert len(reader.latest()) == 4 and len(lines) == 4


def test_a_cell_is_found_among_the_added_records_without_reading_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RecordsFile(tmp_path)
    for number in range(5):
        file.add(replace(RECORD, digest=f"{number}" * 64))
    size, lines = file.path.stat().st_size, lines_read(monkeypatch)
    assert file.added("4" * 64, size) is None and lines == []
    own = replace(RECORD, digest="e" * 64)
    added = [own, replace(RECORD, digest="f" * 64), failed_record(own, "out of memory")]
    with file.path.open("ab") as more:
        more.write(b"".join(map(sealed_line, added)))
        more.write(sealed_line(own)[:-1])  # still being written
    assert file.added("e" * 64, size) == added[2] and len(lines) == 2
    assert file.added("4" * 64, size) is None and len(lines) == 2


def test_a_records_file_that_is_another_one_is_searched_from_its_start(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path)
    assert file.added("d1", 0) is None  # there is no file
    file.add(RECORD)
    assert file.added("d1", file.path.stat().st_size + 1) == RECORD


def test_garbage_is_collected_again_after_a_read(tmp_path: Path) -> None:
    RecordsFile(tmp_path).add(RECORD)
    assert gc.isenabled() and RecordsFile(tmp_path).latest() and gc.isenabled()


def test_a_folder_without_a_records_file_has_no_records(tmp_path: Path) -> None:
    assert RecordsFile(tmp_path / "absent").latest() == {}


def test_the_newest_record_of_a_cell_counts(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path)
    file.add(failed_record(RECORD, "out of memory"))
    done = scored_record(RECORD, Score("accuracy (%)", 80.0, 100), certificate=CERTIFICATE)
    file.add(done)
    assert RecordsFile(tmp_path).latest() == {"d1": done}


def test_a_record_of_another_process_is_seen_by_the_next_read(tmp_path: Path) -> None:
    reader, writer = RecordsFile(tmp_path), RecordsFile(tmp_path)
    assert reader.latest() == {}
    writer.add(RECORD)
    assert set(reader.latest()) == {"d1"}
    writer.add(replace(RECORD, digest="d2"))
    assert set(reader.latest()) == {"d1", "d2"}


def test_a_last_line_cut_short_is_skipped_and_the_next_record_begins_a_new_line(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path)
    file.add(RECORD)
    file.add(replace(RECORD, digest="d2"))
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-20])
    assert set(RecordsFile(tmp_path).latest()) == {"d1"}
    RecordsFile(tmp_path).add(replace(RECORD, digest="d3"))
    after = RecordsFile(tmp_path)
    assert set(after.latest()) == {"d1", "d3"}
    assert after.broken == 1


@given(st.data())
def test_a_file_cut_anywhere_gives_only_whole_records(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    file = RecordsFile(tmp_path_factory.mktemp("store"))
    for number in range(3):
        file.add(replace(RECORD, digest=f"d{number}"))
    whole = file.path.read_bytes()
    kept = data.draw(st.integers(0, len(whole)))
    file.path.write_bytes(whole[:kept])
    assert list(RecordsFile(file.path.parent).latest()) == [
        f"d{number}" for number in range(whole[:kept].count(b"\n"))
    ]


def test_a_line_in_progress_is_read_once_it_is_whole(tmp_path: Path) -> None:
    file, line = RecordsFile(tmp_path), sealed().encode()
    file.path.write_bytes(line[:40])
    assert file.latest() == {}
    file.path.write_bytes(line)
    assert file.latest() == {"d1": RECORD}
    assert file.broken == 0


@pytest.mark.parametrize(
    "change", [(b'"seed": 0', b'"seed": 1'), (b"skipped", b"ok"), (b'"seal"', b'"sale"')]
)
def test_an_altered_record_is_never_read(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    file = RecordsFile(tmp_path)
    file.add(RECORD)
    altered = file.path.read_bytes().replace(*change)
    assert altered != file.path.read_bytes()
    file.path.write_bytes(altered)
    assert file.latest() == {}
    assert file.broken == 1


@pytest.mark.parametrize("line", ["", "null", "7", "[]", "{}", '"text"', "{", "\udcff", '{"seal": []}'])
def test_a_line_without_a_record_is_skipped(tmp_path: Path, line: str) -> None:
    file = RecordsFile(tmp_path)
    file.path.write_bytes(line.encode(errors="surrogateescape") + b"\n" + sealed().encode())
    assert file.latest() == {"d1": RECORD}
    assert file.broken == 1


def test_a_sealed_record_with_unknown_fields_or_values_is_skipped(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path)
    file.path.write_text(sealed(colour="red") + sealed(seed="none") + sealed(digest="d2"), encoding="utf-8")
    assert set(file.latest()) == {"d2"}
    assert file.broken == 2


def test_records_of_another_schema_are_refused_by_name(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path)
    file.path.write_text(sealed(schema=RECORD_SCHEMA + 1), encoding="utf-8")
    message = rf"{RECORDS_NAME} has records of schema {RECORD_SCHEMA + 1}, written by another release"
    with pytest.raises(StoreError, match=message):
        file.latest()


def test_one_bad_line_never_hides_the_others_and_is_named(tmp_path: Path) -> None:
    lines = [
        sealed(digest="d1"),
        "{}\n",
        sealed(schema=RECORD_SCHEMA + 1),
        "[" * 100_000 + "\n",  # too deep for the JSON reader
        sealed(digest="d2"),
        '{"seal": "", "value": NaN}\n',
    ]
    file = RecordsFile(tmp_path)
    file.path.write_text("".join(lines), encoding="utf-8")
    assert set(file.latest()) == {"d1", "d2"}
    assert file.faults == [
        "line 2 (cut short or altered)",
        f"line 3 (records of schema {RECORD_SCHEMA + 1}, written by another release of smc-eval)",
        "line 4 (cut short or altered)",
        "line 6 (cut short or altered)",
    ]
    with file.path.open("a", encoding="utf-8") as more:
        more.write("7\n" + sealed(digest="d3"))
    assert set(file.latest()) == {"d1", "d2", "d3"}
    assert file.faults[4:] == ["line 7 (cut short or altered)"]
    assert file.warning.startswith(f"{file.path}: skipped line 2 (cut") and file.warning.endswith(
        " and 2 more"
    )


def test_a_record_that_json_cannot_hold_is_refused_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path)
    file.add(RECORD)
    before = file.path.read_bytes()
    infinite = scored_record(RECORD, Score("m", float("inf"), 1))
    for record in (infinite, replace(RECORD, reason="\udcff"), replace(RECORD, versions={"a": object()})):
        with pytest.raises(StoreError, match="cannot write a record to"):
            file.add(record)
    assert file.path.read_bytes() == before
    file.add(failed_record(RECORD, "no file \udcff"))
    assert file.latest()["d1"].reason == "no file \\udcff"


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile
name, folder, text = sys.argv[1:]
record = Record.from_json(__import__("json").loads(text))
file = RecordsFile(Path(folder))
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    file.add(replace(record, digest=f"{name}{number}", reason="x" * 5000))
"""


def test_two_processes_that_write_at_once_lose_no_record(tmp_path: Path) -> None:
    text = json.dumps(RECORD.to_json())
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, name, str(tmp_path), text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for name in "ab"
    ]
    for writer in writers:  # both are ready before either starts
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    file = RecordsFile(tmp_path)
    assert set(file.latest()) == {f"{name}{number}" for name in "ab" for number in range(40)}
    assert file.broken == 0


@pytest.mark.parametrize("size", [10, 1_000, 100_000])
def test_a_disk_that_fills_up_leaves_the_file_as_it_was(tmp_path: Path, size: int) -> None:
    file = RecordsFile(tmp_path)
    file.add(RECORD)
    before = file.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))  # room for a part of a record
    try:
        with pytest.raises(StoreError, match=rf"cannot write .*{RECORDS_NAME}: File too large"):
            file.add(replace(RECORD, digest="d2", reason="x" * size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.path.read_bytes() == before
    file.add(replace(RECORD, digest="d3"))
    assert set(RecordsFile(tmp_path).latest()) == {"d1", "d3"}


def test_a_record_that_does_not_reach_the_disk_is_removed(tmp_path: Path, monkeypatch) -> None:
    file = RecordsFile(tmp_path)
    file.add(RECORD)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(records.os, "fsync", full)
        with pytest.raises(StoreError, match="No space left on device$"):
            file.add(replace(RECORD, digest="d2"))
    assert set(RecordsFile(tmp_path).latest()) == {"d1"}


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match=f"cannot write .*{RECORDS_NAME}"):
        RecordsFile(tmp_path / "file" / "store").add(RECORD)


def test_a_file_that_cannot_be_read_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / RECORDS_NAME).mkdir()
    with pytest.raises(StoreError, match=f"cannot read .*{RECORDS_NAME}: Is a directory"):
        RecordsFile(tmp_path).latest()


def test_only_a_scored_and_certified_record_is_sound() -> None:
    score = Score("accuracy (%)", 80.0, 100)
    assert scored_record(RECORD, score, certificate=CERTIFICATE).sound
    assert not scored_record(RECORD, score, certificate=replace(CERTIFICATE, ok=False)).sound
    assert not scored_record(RECORD, score).sound
    assert not failed_record(RECORD, "out of memory").sound


def test_a_failed_record_keeps_its_cell_and_gives_the_reason() -> None:
    result = failed_record(RECORD, "out of memory")
    assert (result.status, result.reason, result.digest, result.score) == (
        "failed",
        "out of memory",
        "d1",
        None,
    )


@pytest.mark.parametrize("changes", [{"n": 10**31}, {"n": -1}])
def test_a_record_that_no_reader_would_take_is_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    record = record_with()
    assert record.score is not None
    wrong = replace(record, score=replace(record.score, **changes))
    with pytest.raises(StoreError, match="of 'omp-after' or 'toy' has a type or a size that no"):
        RecordsFile(tmp_path).add(wrong)
    assert not (tmp_path / RECORDS_NAME).exists()
