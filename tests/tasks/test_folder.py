"""Files are found by official names, read plain or compressed, and identified by content."""

from __future__ import annotations

import gzip
import hashlib
import os

import pytest

from smc_eval.errors import DataError
from smc_eval.tasks.folder import content_digest, find_file, find_files, lines


def write_file(path, content=b"a\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_is_found_by_its_name_or_with_gz(tmp_path):
    packed = write_file(tmp_path / "set" / "fold0" / "dev.csv.gz")
    assert find_file(tmp_path, "set/fold0/dev.csv") == packed
    plain = write_file(tmp_path / "set" / "fold0" / "dev.csv")
    assert find_file(str(tmp_path), "set/fold0/dev.csv") == plain


def test_a_missing_folder_is_reported_with_the_options(tmp_path):
    with pytest.raises(
        DataError, match=r"nowhere' does not exist; .*--data-dir DIR or SMC_EVAL_DATA.*--data-dir synthetic"
    ):
        find_file(tmp_path / "nowhere", "dev.csv")


def test_a_data_folder_that_is_a_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="is a file, not a folder"):
        find_file(write_file(tmp_path / "data.csv"), "dev.csv")


def test_a_missing_file_is_reported_with_its_place_and_the_contents_of_the_folder(tmp_path):
    write_file(tmp_path / "set" / "fold0" / "dev.csv")
    with pytest.raises(DataError) as caught:
        find_file(tmp_path, "set/fold7/dev.csv")
    message = str(caught.value)
    assert f"{str(tmp_path)!r} has no set/fold7/dev.csv or set/fold7/dev.csv.gz" in message
    assert f"{tmp_path / 'set'} holds fold0\n" in message
    assert f"the official release has the file at {tmp_path / 'set' / 'fold7' / 'dev.csv'}" in message
    assert "SMC_EVAL_DATA" in message
    assert message.count("\n") == 2


def test_a_folder_with_the_name_of_a_file_is_refused(tmp_path):
    (tmp_path / "dev.csv").mkdir()
    with pytest.raises(DataError, match="there is a folder of that name"):
        find_file(tmp_path, "dev.csv")


def test_files_are_sorted_by_number_and_a_plain_file_is_preferred_to_its_gz(tmp_path):
    names = ("10.txt", "2.txt.gz", "2.txt", "1.txt.gz", "notes.md", "txt")
    for name in names:
        write_file(tmp_path / "set" / "train" / name)
    files = find_files(tmp_path, "set/train", ".txt")
    assert [path.name for path in files] == ["1.txt.gz", "2.txt", "10.txt"]


def test_a_folder_without_such_files_is_reported(tmp_path):
    write_file(tmp_path / "set" / "train" / "notes.md")
    write_file(tmp_path / "set" / "dev")
    with pytest.raises(DataError, match=r"set/train holds no .txt or .txt.gz file"):
        find_files(tmp_path, "set/train", ".txt")
    with pytest.raises(DataError, match=r"has no set/test or .*set holds dev, train\n"):
        find_files(tmp_path, "set/test", ".txt")
    with pytest.raises(DataError, match=r"set/dev is a file; wanted a folder of .txt files"):
        find_files(tmp_path, "set/dev", ".txt")


def test_lines_keep_their_ends_and_a_byte_order_mark_is_removed(tmp_path):
    content = "\ufeffé\r\nb\n\nc".encode()
    for path in (
        write_file(tmp_path / "a.txt", content),
        write_file(tmp_path / "a.txt.gz", gzip.compress(content)),
    ):
        assert list(lines(path)) == ["é\r\n", "b\n", "\n", "c"]


def test_an_empty_file_has_no_lines(tmp_path):
    assert list(lines(write_file(tmp_path / "a.txt", b""))) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_gz_is_a_data_error(tmp_path, share):
    packed = gzip.compress(b"".join(b"%d\n" % (n * n) for n in range(3000)))
    path = write_file(tmp_path / "a.csv.gz", packed[: int(len(packed) * share)])
    for read in (lambda: list(lines(path)), lambda: content_digest([path])):
        with pytest.raises(DataError, match="truncated or not a gzip file"):
            read()


def test_a_broken_gz_and_plain_text_named_gz_are_data_errors(tmp_path):
    packed = bytearray(gzip.compress(b"".join(b"%d\n" % (n * n) for n in range(3000))))
    packed[len(packed) // 2] ^= 0xFF
    for content in (bytes(packed), b"plain text\n"):
        with pytest.raises(DataError, match="truncated or not a gzip file"):
            list(lines(write_file(tmp_path / "a.csv.gz", content)))


@pytest.mark.parametrize(
    ("content", "line"), [(b"a\nb\xff\n", 2), ("é".encode("utf-16"), 1), (b"\xef\xbb\xbf\xe9", 1)]
)
def test_a_byte_that_is_not_utf8_is_reported_with_its_line(tmp_path, content, line):
    with pytest.raises(DataError, match=f"a.txt, line {line}: byte 0x[ef][9ef] is not UTF-8"):
        list(lines(write_file(tmp_path / "a.txt", content)))


def test_a_folder_or_a_missing_file_is_a_data_error(tmp_path):
    for path in (tmp_path, tmp_path / "none.txt", tmp_path / "none.txt.gz"):
        with pytest.raises(DataError, match=f"cannot read {path}: "):
            list(lines(path))
        with pytest.raises(DataError, match=f"cannot read {path}: "):
            content_digest([path])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_folder_without_permission_is_a_data_error(tmp_path):
    closed = tmp_path / "closed"
    write_file(closed / "set" / "dev.csv")
    closed.chmod(0)
    try:
        with pytest.raises(DataError, match="closed"):
            find_file(closed, "set/dev.csv")
    finally:
        closed.chmod(0o700)


def test_the_digest_depends_on_content_and_order_not_on_place_or_compression(tmp_path):
    a, b = write_file(tmp_path / "a.csv", b"one"), write_file(tmp_path / "b.csv", b"two")
    packed = write_file(tmp_path / "elsewhere" / "c.csv.gz", gzip.compress(b"one"))
    wanted = hashlib.sha256(hashlib.sha256(b"one").digest() + hashlib.sha256(b"two").digest()).hexdigest()
    assert content_digest([a, b]) == content_digest([packed, b]) == wanted
    assert content_digest([b, a]) != wanted


def test_moving_bytes_from_one_file_to_the_next_changes_the_digest(tmp_path):
    split = [write_file(tmp_path / "a", b"onet"), write_file(tmp_path / "b", b"wo")]
    other = [write_file(tmp_path / "c", b"one"), write_file(tmp_path / "d", b"two")]
    assert content_digest(split) != content_digest(other)
