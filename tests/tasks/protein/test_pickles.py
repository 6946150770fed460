"""Pickles of splits: read, and never executed."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import DataError
from smc_eval.tasks.protein.pickles import Names, read_names

GOOD = {"train_names": ["a", "b"], "train_labels": [0, 80.5], "test_names": ["c"], "test_labels": [1]}


def write_pickle(folder: Path, content: object, protocol: int = 2) -> Path:
    path = folder / "d1_0.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path


def error_message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_names(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).count("\n") <= 2
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_four_lists_are_read_in_any_protocol(tmp_path: Path, protocol: int) -> None:
    names = read_names(write_pickle(tmp_path, {**GOOD, "further": None}, protocol))
    assert names.train == [("a", 0), ("b", 80.5)]
    assert names.test == [("c", 1)]


def test_a_compressed_pickle_gives_the_same(tmp_path: Path) -> None:
    packed = tmp_path / "d1_0.pkl.gz"
    packed.write_bytes(gzip.compress(write_pickle(tmp_path, GOOD).read_bytes()))
    assert read_names(packed) == read_names(tmp_path / "d1_0.pkl")


class Bomb:
    """Makes a folder when an ordinary unpickler loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("field", ["train_names", "test_labels", "further"])
def test_code_in_a_pickle_is_not_executed(tmp_path: Path, protocol: int, field: str) -> None:
    path = write_pickle(tmp_path, {**GOOD, field: [Bomb(tmp_path / "exploded")]}, protocol)
    message = error_message(path)
    assert "mkdir" in message and "it was not executed" in message
    assert not (tmp_path / "exploded").exists()
    pickle.loads(path.read_bytes())  # an ordinary unpickler executes the code
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"c__builtin__\neval\n(S'1+1'\ntR.", "eval"),
        (b"cposix\nsystem\n(S'true'\ntR.", "posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x04pass\x85R.", "builtins.exec"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"Psome id\n.", "stored elsewhere, 'some id'"),
        (pickle.dumps(OrderedDict(GOOD)), "collections.OrderedDict"),
        (pickle.dumps({**GOOD, "train_labels": [np.float64(1.0)]}), "numpy"),
        (pickle.dumps({**GOOD, "train_labels": np.zeros(2)}), "numpy"),
        (pickle.dumps({**GOOD, "train_names": [Path("a")]}), "pathlib"),
        (pickle.dumps({**GOOD, "train_names": [print]}), "builtins.print"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_object_that_needs_a_class_or_function_is_refused_by_name(
    tmp_path: Path, content: bytes, name: str
) -> None:
    assert name in error_message(write_pickle(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list without train_names"),
        (None, "holds None without train_names"),
        ({"train_names": []}, "holds a dict without train_labels, test_names, test_labels"),
        ({**GOOD, "train_names": ("a", "b")}, "train_names is a tuple; wanted a list"),
        ({**GOOD, "train_names": ["a", 7]}, "train_names[1] is an int; wanted str"),
        ({**GOOD, "test_labels": ["1"]}, "test_labels[0] is a str; wanted int or float"),
        ({**GOOD, "test_labels": [True]}, "test_labels[0] is a bool; wanted int or float"),
        ({**GOOD, "test_labels": [[1]]}, "test_labels[0] is a list; wanted int or float"),
        ({**GOOD, "train_labels": [1]}, "2 train_names, but 1 train_labels"),
        (b"", "truncated or not a pickle"),
        (b"name,label\n", "truncated or not a pickle"),
        (b"\x80\x04\x82\x01.", "truncated or not a pickle"),  # an extension registry code
        (b"\x80\x04]\x94}\x94\x81.", "truncated or not a pickle"),  # an object without a class
        (b"\x80\x02]r\xff\xff\xff\x7f.", "truncated or not a pickle"),  # a memo index of two thousand million
        (
            b"\x8e" + struct.pack("<Q", 1 << 62),
            "truncated or not a pickle",
        ),  # an announced size of four exabytes
    ],
)
def test_other_content_is_reported(tmp_path: Path, content: object, words: str) -> None:
    assert words in error_message(write_pickle(tmp_path, content))


def read(path: Path) -> tuple[Names, str]:
    """The split or the message of a DataError; any other exception fails the test."""
    try:
        return read_names(path), ""
    except DataError as error:
        return Names([], []), str(error)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_any_bytes_give_a_split_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    pickled = pickle.dumps(GOOD, protocol=2)
    path = write_pickle(tmp_path_factory.mktemp("any"), pickled[:at] + noise + pickled[at + len(noise) :])
    names, message = read(path)
    assert str(path) in message or all(isinstance(name, str) for name, _ in names.train + names.test)
