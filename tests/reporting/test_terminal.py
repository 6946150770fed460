"""The printed table, character by character and at every width."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from smc_eval.reporting.table import table_of
from smc_eval.reporting.terminal import print_table, render_table
from smc_eval.target import SMC_GRID

METHODS = ("random-before", "omp-after", "lth")


def printed(results, width: int | None = None, *, color: bool = False, **options) -> str:
    """The output on a terminal of this width; without a width, in a pipe."""
    file = io.StringIO()
    system = "standard" if color else None
    console = Console(file=file, width=width or 80, force_terminal=width is not None, color_system=system)
    print_table(table_of(results), console, **options)
    return file.getvalue()


def grid(record, seeds=(0,)) -> list:
    """Two tasks, three methods, all ten sparsities of the paper."""
    return [
        record(method, sparsity, 90 - 20 * sparsity + seed, task=task, seed=seed)
        for task in ("mawps/gts", "svamp/graph2tree")
        for seed in seeds
        for method, sparsity in [("dense", 0.0), *((method, s) for method in METHODS for s in SMC_GRID)]
    ]


GOLDEN = """\
task  method     dense        0.5                0.8
────────────────────────────────────────────────────
t/a   omp-after   90.0  80.0±12.7             failed
      lth         90.0       85.0  70.0! (1/2 seeds)

t/b   omp-after      –       75.5                  –

! 1 of 9 results failed the certificate; means of certified results exclude them
failed: t/a omp-after 0.8 seed 0: out of memory
  try less
certificate: t/a lth 0.8 seed 0: 50 weights remain, 40 expected
score: accuracy (%), higher is better
columns: sparsity (share of pruned weights in scope); protocol sound; scope body; distribution global
model: tiny
data: there
seeds 0, 1; ± is the longer half of the 95 % confidence interval over 2 seeds (t)
signature of t/a, t/b: acc|v1
cells: 7 ok, 1 failed the certificate, 1 failed; –: not run
cost: 96 s (train 80 s, prune 4 s, predict 12 s); shared stages are counted once per cell
"""

NARROW = """\
method     dense   0.5       0.8
────────────────────────────────
t/a
 omp-after  90.0  80.0    failed
                 ±12.7
 lth        90.0  85.0     70.0!
                       1/2 seeds
t/b
 omp-after     –  75.5         –
"""


def small(record) -> list:
    return [
        record("dense", value=90.0),
        record("dense", value=90.0, seed=1),
        record("omp-after", value=79.0),
        record("omp-after", value=81.0, seed=1),
        record("lth", value=85.0),
        record("lth", value=85.0, seed=1),
        record("omp-after", 0.8, value=None),
        record("lth", 0.8, value=70.0, ok=False),
        record("omp-after", value=75.5, task="t/b"),
    ]


def trimmed(text: str) -> str:
    """Without trailing blanks."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_a_small_table_is_printed_exactly_like_this(record) -> None:
    assert trimmed(printed(small(record), 110)) == GOLDEN


def test_a_narrow_terminal_shows_the_same_numbers(record) -> None:
    table, _, _footnotes = trimmed(printed(small(record), 32)).partition("\n\n")
    assert f"{table}\n" == NARROW


def test_output_in_a_pipe_has_whole_lines_and_no_colour(record) -> None:
    results = grid(record, seeds=(0, 1, 2))
    text = printed([*results, record(value=None, reason="long " * 60)])
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) > 300
    row = next(line for line in text.splitlines() if line.startswith("mawps/gts  "))
    assert row.split()[:3] == ["mawps/gts", "random-before", "91.0±2.5"]
    assert render_table(table_of(results), "table") == printed(results)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_papers_ten_sparsities_fit_eighty_columns(record, seeds) -> None:
    text = printed(grid(record, seeds), 80)
    assert max(map(len, text.splitlines())) <= 80
    head, *lines = text.splitlines()
    assert " ".join(head.split()) == "method dense 0.2 0.36 0.488 0.59 0.672 0.738 0.79 0.832 0.866 0.893"
    whole = lines[[line.strip() for line in lines].index("svamp/graph2tree") + 1].split()
    assert whole[0] == "random-before"
    middle = sum(seeds) / len(seeds)
    expected = [90.0, *(90 - 20 * sparsity for sparsity in SMC_GRID)]
    assert whole[1:] == [f"{value + middle:.1f}" for value in expected]


@pytest.mark.parametrize("width", range(16, 130, 6))
def test_no_number_is_broken_or_lost_at_any_width(record, width) -> None:
    results = [
        record(method, sparsity, 10 + 7.3 * number, task=f"t/{task}")
        for task in "ab"
        for number, (method, sparsity) in enumerate((m, s) for m in METHODS for s in (0.1, 0.5, 0.9))
    ]
    text = printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    table = text.partition("score:")[0]
    for number in range(9):
        assert table.split().count(f"{10 + 7.3 * number:.1f}") == 2


def test_styles_mark_the_best_number_and_failures(record) -> None:
    text = printed(small(record), 100, color=True)
    assert "\x1b[1m     85.0\x1b[0m" in text
    assert re.search(r"\x1b\[31m *failed\x1b\[0m", text)
    assert "\x1b[31m70.0! (1/2 seeds)\x1b[0m" in text


def test_the_warning_of_synthetic_data_is_the_first_line_below_the_table(record) -> None:
    text = printed([record(source="synthetic")], 80)
    assert text.partition("\n\n")[2].startswith("SYNTHETIC DATA: not a result\n")


def test_text_in_brackets_is_not_read_as_markup(record) -> None:
    text = printed([record("a:b=[red]x", value=None, reason="wants [0, 1) [/bold]")], 100)
    assert "a:b=[red]x" in text
    assert "wants [0, 1) [/bold]" in text


def test_details_show_further_numbers_and_all_three_sparsities(record) -> None:
    results = [record(value=80.0, also={"equation accuracy": 71.25})]
    sparsity = "sparsity scope 0.5000, weights 0.4500, all 0.4000"
    line = f"t/a omp-after 0.5: 80.0; equation accuracy 71.2; {sparsity}; 12.0 s"
    assert line in printed(results, details=True).splitlines()
    assert "equation accuracy" not in printed(results)


def test_an_ascii_terminal_gets_ascii_only(record) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    reason = "naïve – 模型"
    results = [record(value=80.0), record(value=82.0, seed=1), record("lth", value=None, reason=reason)]
    print_table(table_of(results), Console(file=file))
    file.flush()
    text = raw.getvalue().decode("ascii")
    assert "81.0~12.7" in text
    assert "na?ve - ??" in text


def test_wide_characters_keep_columns_aligned(record) -> None:
    lines = printed([record(task="模型/a", value=80.0), record(task="t/b", value=70.0)], 60).splitlines()
    assert lines[2].startswith("模型/a  omp-after")
    assert lines[3].startswith("t/b     omp-after")


def test_an_empty_table_prints_no_results() -> None:
    assert printed([]) == "no results\n"
