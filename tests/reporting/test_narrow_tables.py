"""The text tables of all verbs on terminals of 60 to 200 columns: whole numbers and heads, readable names."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from smc_eval.cli.check import CHECK_HEADS
from smc_eval.cli.compare import COMPARE_HEADS
from smc_eval.cli.plan import PLAN_HEADS
from smc_eval.cli.speed import SPEED_HEADS
from smc_eval.cli.verify_sparsity import HEADS as ZEROS_HEADS
from smc_eval.reporting.summary_table import SUMMARY_HEADS
from smc_eval.reporting.terminal import print_text_table
from smc_eval.reporting.text_table import TextTable

TASKS = ("mawps/gts:hidden=128,embedding=128", "csqa")
NUMBER = "12.3456"

TABLES = {
    "curves": TextTable(
        ("task", "model", "method", *SUMMARY_HEADS),
        "lllrrrrrl",
        tuple(
            (
                task,
                "roberta-large",
                "grasp:temperature=1.0 (global)",
                *["0.847\n0.801 to 0.893"] * 5,
                "steps, FLOPs",
            )
            for task in TASKS
        ),
    ),
    "compare": TextTable(
        tuple(head.format(a="omp-after:share=0.3", b="gmp") for head in COMPARE_HEADS),
        "lll" + "r" * (len(COMPARE_HEADS) - 4) + "l",
        tuple((task, "tiny", "0.672", *[NUMBER] * (len(COMPARE_HEADS) - 4), "tie") for task in TASKS),
    ),
    "speed": TextTable(
        SPEED_HEADS,
        "llrrrrrrr",
        tuple((f"{task} lth 0.893 seed 0", "numba", *[NUMBER] * 7) for task in TASKS),
    ),
    "plan": TextTable(
        PLAN_HEADS, "llrrrrrr", tuple((task, "roberta-large", *[NUMBER] * 6) for task in TASKS)
    ),
    "check": TextTable(
        CHECK_HEADS,
        "llr",
        (("a killed run ends like one that was not, to the last bit", "kept", NUMBER),) * 2,
    ),
    "zeros": TextTable(
        ZEROS_HEADS,
        "ll" + "r" * (len(ZEROS_HEADS) - 2),
        tuple(
            ("encoder.layer.11.attention.self.query.weight", "1024×1024", *[NUMBER] * (len(ZEROS_HEADS) - 2))
            for _ in TASKS
        ),
    ),
}


def printed(text_table: TextTable, width: int) -> str:
    """The table on a terminal of this width."""
    file = io.StringIO()
    print_text_table(text_table, Console(file=file, width=width, force_terminal=True, color_system=None))
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("name", TABLES)
def test_no_number_or_head_is_cut_or_broken(name: str, width: int) -> None:
    table = TABLES[name]
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.split()
    numbers = [word.strip("()") for row in table.rows for cell in row[table.names :] for word in cell.split()]
    for number in set(numbers):
        found = sum(word.strip("()") == number for word in words)
        assert found == numbers.count(number) + sum(number in head.split() for head in table.heads)
    for head in table.heads[table.names :]:
        assert set(head.split()) <= set(words)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("name", TABLES)
def test_names_are_folded_but_lose_no_sign(name: str, width: int) -> None:
    table = TABLES[name]
    lines = printed(table, width).splitlines()
    for row in table.rows:
        if " " in row[0]:  # folded between its words
            assert set(row[0].split()) <= set(" ".join(lines).split())
            continue
        starts = [n for n in range(1, len(row[0]) + 1) if any(line.startswith(row[0][:n]) for line in lines)]
        column = max(starts)
        assert column >= min(14, len(row[0])), "too narrow to be read"
        folded = "".join(line[:column] for line in lines)
        assert row[0] in folded


def test_a_table_that_fits_has_one_line_for_each_row() -> None:
    lines = printed(TABLES["plan"], 120).splitlines()
    assert [line.split()[0] for line in lines if NUMBER in line] == list(TASKS)


def test_a_table_of_no_rows_has_its_heads_at_every_width() -> None:
    for width in (20, 60):
        assert "hours" in printed(TextTable(PLAN_HEADS, "llrrrrrr", ()), width)
