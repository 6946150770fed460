"""Exports have the content of the records in each format, and are written whole."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from smc_eval.errors import StoreError, UsageError
from smc_eval.files import atomic
from smc_eval.reporting import export
from smc_eval.reporting.export import (
    as_csv,
    as_latex,
    as_markdown,
    check_writable,
    json_parts,
    write_text,
)
from smc_eval.reporting.json_document import document_parts
from smc_eval.reporting.table import table_of
from smc_eval.score import Items
from smc_eval.store.record import RECORD_SCHEMA, Record


@pytest.fixture
def few(record) -> list[Record]:
    return [
        record("dense", value=90.0),
        record("omp-after", value=80.0),
        record("lth", value=85.25, also={"equation accuracy": 70.5}),
        record("odd:a_b=1|2", value=None, reason="50 % of {x}_1\nsecond line"),
    ]


def cells(line: str) -> list[str]:
    """The cells of a Markdown row."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_json_has_the_records_and_the_cells_of_their_table(few) -> None:
    exported = json.loads("".join(json_parts(table_of(few))))
    table = exported.pop("table")
    assert exported == {"schema": RECORD_SCHEMA, "results": [result.to_json() for result in few]}
    assert [Record.from_json(fields) for fields in exported["results"]] == few
    values = {(cell["method"], cell["column"]): (cell["state"], cell["mean"], cell["best"]) for cell in table}
    assert values == {
        **{(method, "dense"): ("ok", 90.0, False) for method in ("omp-after", "lth", "odd:a_b=1|2")},
        ("omp-after", "0.5"): ("ok", 80.0, False),
        ("lth", "0.5"): ("ok", 85.25, True),
        ("odd:a_b=1|2", "0.5"): ("failed", None, False),
    }


def test_json_is_indented_and_has_a_part_for_each_record(few) -> None:
    parts = list(json_parts(table_of(few)))
    assert len([part for part in parts if '"digest"' in part]) == len(few)
    text = "".join(parts)
    margins = [len(line) - len(line.lstrip()) for line in text.splitlines()]
    python = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    assert margins == [len(line) - len(line.lstrip()) for line in python.splitlines()]
    assert text.startswith('{\n  "schema": 2,\n  "results": [\n    {\n') and text.endswith("\n}\n")


def test_json_without_records_is_a_whole_document() -> None:
    assert "".join(document_parts([], {})) == '{\n  "schema": 2,\n  "results": []\n}\n'


def test_csv_and_json_give_the_interval_of_the_mean_and_its_seeds(record) -> None:
    results = [record(value=79.0 + 2 * seed, seed=seed) for seed in (0, 1)] + [record("lth", value=70.0)]
    table = table_of(results)
    first, second, alone = csv.DictReader(io.StringIO(as_csv(table)))
    assert (first["value"], first["mean"], first["over"]) == ("79.0", "80.0", "2 seeds (t)")
    # Student's t of one degree of freedom, 12.706, times the standard error, which is 1
    assert float(first["interval_low"]) == pytest.approx(80 - 12.706, abs=1e-3)
    assert float(second["interval_high"]) == pytest.approx(80 + 12.706, abs=1e-3)
    assert (alone["mean"], alone["interval_low"], alone["over"]) == ("70.0", "", "")
    pair, single = json.loads("".join(json_parts(table)))["table"]
    assert str(pair["interval_low"]) == first["interval_low"]
    assert (pair["over"], pair["seeds"]) == ("2 seeds (t)", [0, 1])
    assert single["interval_low"] is None


def test_csv_gives_the_interval_over_items_of_a_single_seed(record) -> None:
    items = Items("mean", tuple((100.0 * (n < 80),) for n in range(100)))
    table = table_of([record(value=80.0)], lambda _: items)
    (line,) = csv.DictReader(io.StringIO(as_csv(table)))
    assert line["over"] == "100 items of one seed"
    # Wilson's interval of 80 in 100: 71.12 to 86.66
    assert float(line["interval_low"]) == pytest.approx(71.117, abs=1e-3)
    assert float(line["interval_high"]) == pytest.approx(86.663, abs=1e-3)
    assert table.rows[0].cell_values[0].text == "80.0"  # in the table it would be read as one over seeds


def test_a_record_that_enters_no_mean_has_none(record) -> None:
    results = [record(value=80.0), record(value=20.0, seed=1, ok=False), record("lth", value=None)]
    sound, unsound, failed = csv.DictReader(io.StringIO(as_csv(table_of(results))))
    assert [sound["mean"], unsound["mean"], failed["mean"]] == ["80.0", "", ""]


def test_what_was_counted_in_the_data_and_the_best_possible_scores_are_columns(record) -> None:
    data = {
        "repeats": {"in_train": 3, "in_test": 1},
        "left_out": {"train": 2},
        "unknown_tokens": {"zh": 0.01},
    }
    text = as_csv(table_of([record(data=data, score={"ceiling": {"en-zh": 66.0}})]))
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["data_repeats_in_train"], line["data_repeats_in_test"]) == ("3", "1")
    assert (line["data_left_out_train"], line["data_unknown_tokens_zh"]) == ("2", "0.01")
    assert (line["data_source"], line["ceiling_en-zh"]) == ("there", "66.0")


def test_csv_has_one_line_per_record(few) -> None:
    text = as_csv(table_of(few))
    assert len(text.splitlines()) == 1 + len(few)
    dense, _omp, lth, failed = csv.DictReader(io.StringIO(text))
    assert (dense["method"], dense["sparsity"], dense["value"]) == ("dense", "0.0", "90.0")
    assert (lth["value"], lth["also_equation_accuracy"], dense["also_equation_accuracy"]) == (
        "85.25",
        "70.5",
        "",
    )
    assert (lth["sparsity_scope"], lth["sparsity_weights"], lth["sparsity_all"]) == ("0.5", "0.45", "0.4")
    assert (lth["seconds_train"], lth["seconds_prune"], lth["seconds_predict"]) == ("10.0", "0.5", "1.5")
    assert (lth["certified"], lth["steps"], lth["scoring_passes"], lth["fold"]) == ("True", "7", "2", "")
    assert (failed["status"], failed["reason"], failed["value"]) == (
        "failed",
        "50 % of {x}_1 / second line",
        "",
    )


def test_every_format_marks_a_failed_certificate_and_gives_the_reason(record) -> None:
    why = ["312 weights under masks are not zero; the largest is 0.5", "50 weights remain, 40 expected"]
    results = [record(value=80.0), record("lth", certificate={"ok": False, "failed": why})]
    reasons = "; ".join(why)
    certificate = json.loads("".join(json_parts(table_of(results))))["results"][1]["certificate"]
    assert (certificate["ok"], certificate["failed"]) == (False, why)
    _, line = csv.DictReader(io.StringIO(as_csv(table_of(results))))
    assert (line["certified"], line["doubts"]) == ("False", reasons)
    markdown, latex = as_markdown(table_of(results)), as_latex(table_of(results))
    assert "| 80.0! |" in markdown and f"certificate: t/a lth 0.5 seed 0: {reasons}" in markdown
    assert r"\textit{80.0!}" in latex and reasons in latex
    assert "1 of 2 results failed the certificate" in markdown and "failed the certificate" in latex


def test_csv_without_records_is_a_header() -> None:
    assert as_csv(table_of([])) == "task\n"


def test_markdown_can_be_parsed_again(few) -> None:
    lines = as_markdown(table_of(few)).splitlines()
    assert [cells(line) for line in lines[:2]] == [
        ["task", "method", "dense", "0.5"],
        ["---", "---", "---:", "---:"],
    ]
    assert [cells(line) for line in lines[2:5]] == [
        ["t/a", "omp-after", "90.0", "80.0"],
        ["t/a", "lth", "90.0", "**85.2**"],
        ["t/a", r"odd:a\_b=1\|2", "90.0", "failed"],
    ]
    assert lines[5] == ""
    assert all(line.startswith("- ") for line in lines[6:])
    assert r"- failed: t/a odd:a\_b=1\|2 0.5 seed 0: 50 % of {x}\_1 /   second line" in lines


def test_markdown_names_models_only_if_there_are_several(record) -> None:
    text = as_markdown(table_of([record(), record(model="org/large", source="synthetic")]))
    assert cells(text.splitlines()[0]) == ["task", "model", "method", "0.5"]
    assert [cells(line)[1] for line in text.splitlines()[2:4]] == ["tiny", "org/large"]
    assert "- **SYNTHETIC DATA: not a result" in text


def test_latex_is_a_booktabs_table_with_escaped_characters(few) -> None:
    text = as_latex(table_of(few))
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == 1
    rows = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert rows == [
        r"t/a & omp-after & 90.0 & 80.0 \\",
        r"t/a & lth & 90.0 & \textbf{85.2} \\",
        r"t/a & odd:a\_b=1\textbar{}2 & 90.0 & \textit{failed} \\",
    ]
    assert r"\begin{tabular}{llrr}" in text
    caption = re.search(r"\\caption\{(.*)\}\n", text)
    assert caption is not None
    assert r"Score: accuracy (\%), higher is better. " in caption[1]
    assert "protocol sound; scope body; distribution global." in caption[1]
    shown = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%#_]", shown)
    assert shown.isascii()


def test_latex_separates_tasks_by_a_rule_and_writes_signs_as_commands(record) -> None:
    results = [record(seed=seed, value=80.0 + seed, task=task) for task in ("t/a", "t/b") for seed in (0, 1)]
    text = as_latex(table_of(results))
    assert text.count(r"\midrule") == 2
    assert r"t/a & omp-after & 80.5$\pm$6.4 \\" in text


def test_a_file_is_replaced_whole_and_no_other_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_text(path, ["first ", "±\n"])
    write_text(path, ["second\n"])
    assert path.read_text(encoding="utf-8") == "second\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "out.csv"
    write_text(path, ["old\n"])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*out\.csv: No space left on device$"):
        write_text(path, ["new\n"])
    assert path.read_text(encoding="utf-8") == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_symbolic_link_is_followed_and_kept(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", ["text"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "text"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_written_to_and_not_replaced() -> None:
    check_writable(Path("/dev/null"))
    write_text(Path("/dev/null"), ["text"])
    assert Path("/dev/null").is_char_device()
    with pytest.raises(StoreError, match="No space left on device"):
        write_text(Path("/dev/full"), ["text"])


def test_a_path_that_cannot_be_written_is_refused_before_a_run(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.json")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="it is a folder; name a file in it"):
        check_writable(tmp_path)
    with pytest.raises(UsageError, match="there is no folder .*absent'; create it first"):
        check_writable(tmp_path / "absent" / "new.json")


def test_a_read_only_folder_is_refused_before_a_run(tmp_path: Path, monkeypatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(export.tempfile, "TemporaryFile", refuse)  # root can write to every folder
    with pytest.raises(UsageError, match="Permission denied; name a file in another folder"):
        check_writable(tmp_path / "new.json")
