"""Lines of the records file: sealed by their bytes, and read as they were written."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.spec import digest
from smc_eval.store.record import RECORD_SCHEMA, Record
from smc_eval.store.record_line import (
    BrokenLine,
    LineReader,
    seal_of_values,
    sealed_line,
)
from smc_eval.testing import record_with

RECORD = record_with(
    task="naïve – 模型", certificate={"tensors": {"b.weight": 0.1, "a.weight": 1e-05, "c.weight": 1.0}}
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def with_floats(*values: float) -> Record:
    """A record whose tensors have these values."""
    assert RECORD.certificate is not None
    return replace(
        RECORD, certificate=replace(RECORD.certificate, tensors={f"t{n}": v for n, v in enumerate(values)})
    )


def test_the_seal_is_the_checksum_of_the_line_without_it() -> None:
    line = sealed_line(RECORD)
    content, _, seal = line.decode().rpartition(', "seal": ')
    assert line.endswith(b'"}\n')
    assert json.loads(line)["seal"] == hashlib.sha256(f"{content}}}".encode()).hexdigest()
    assert seal == f'"{json.loads(line)["seal"]}"}}\n'
    assert json.loads(f"{content}}}") == {"schema": RECORD_SCHEMA, **RECORD.to_json()}


def test_no_byte_of_a_line_can_change() -> None:
    line = sealed_line(RECORD)
    assert LineReader().record(line) == RECORD
    for place in range(len(line) - 1):
        altered = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        with pytest.raises(BrokenLine):
            LineReader().record(altered)


@pytest.mark.parametrize(
    "change",
    [(b'": ', b'":'), (b", ", b" , "), (b"1e-05", b"0.00001"), (b'"}\n', b'" }\n'), (b'"}\n', b"\n")],
)
def test_a_line_of_the_same_values_in_other_bytes_has_not_its_seal(change: tuple[bytes, bytes]) -> None:
    with pytest.raises(BrokenLine):
        LineReader().record(sealed_line(RECORD).replace(*change))


def test_a_second_seal_or_another_value_behind_the_seal_is_refused() -> None:
    line = sealed_line(RECORD)
    for added in (b', "seal": "0"}\n', b', "status": "ok"}\n'):
        with pytest.raises(BrokenLine):
            LineReader().record(line.removesuffix(b"}\n") + added)


def test_a_line_of_an_earlier_build_has_the_seal_of_its_values_in_any_order() -> None:
    plain: dict[str, Any] = {"schema": RECORD_SCHEMA, **RECORD.to_json()}
    for form in (plain, dict(sorted(plain.items()))):
        text = json.dumps({**form, "seal": digest(plain)})
        assert LineReader().record(text.encode()) == RECORD
        with pytest.raises(BrokenLine):
            LineReader().record(text.replace("1e-05", "2e-05").encode())


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_seal_of_values_is_their_digest(values: dict[str, Any]) -> None:
    try:
        expected = digest(values)
    except UnicodeEncodeError:  # half a character
        with pytest.raises(UnicodeEncodeError):
            seal_of_values(values)
        return
    assert seal_of_values(values) == expected


@given(st.lists(st.floats(0, 1) | st.floats(0, 1e-300), min_size=1, max_size=50))
def test_floats_are_read_to_the_bit(values: list[float]) -> None:
    certificate = LineReader().record(sealed_line(with_floats(*values))).certificate
    assert certificate is not None
    read = list(certificate.tensors.values())
    assert struct.pack(f"{len(read)}d", *read) == struct.pack(f"{len(values)}d", *values)


def test_mappings_keep_their_order() -> None:
    certificate = LineReader().record(sealed_line(RECORD)).certificate
    assert certificate is not None and [*certificate.tensors] == ["b.weight", "a.weight", "c.weight"]


def test_equal_parts_of_records_are_one_object_and_zeros_keep_their_signs() -> None:
    reader = LineReader()
    first, second = (reader.record(sealed_line(replace(RECORD, seed=seed))) for seed in (0, 1))
    assert first.recipe is second.recipe and first.target is second.target and first.data is second.data
    zeros = [
        reader.record(sealed_line(record_with(recipe={"weight_decay": zero}))).recipe.weight_decay
        for zero in (0.0, -0.0)
    ]
    assert [math.copysign(1, zero) for zero in zeros] == [1, -1]
