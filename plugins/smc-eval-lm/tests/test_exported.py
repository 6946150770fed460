"""A language model that was taken home has its tokenizer, and its score comes out again."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from smc_eval.cli import run
from smc_eval.cli.program import app
from smc_eval.store.records import RecordsFile

SHORT = (
    "--tasks",
    "perplexity:windows=4",
    "--limit",
    "40",
    "--quiet",
    "--no-dense",
    "--data-dir",
    "synthetic",
)


def scored(*words: str) -> float:
    ended = CliRunner().invoke(app, ["run", *SHORT, *words], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    (record,) = RecordsFile.of_store(Path(words[-1])).latest().values()
    assert record.score is not None
    return record.score.value


def test_a_small_net_is_exported_with_the_tokenizer_of_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "ISOLATED", False)  # a worker process takes seconds to start
    own = scored("--model", "tiny", "--method", "omp-after", "--sparsity", "0.5", "--output", "s")
    ended = CliRunner().invoke(app, ["export", "s", "omp-after@0.5", "--to", "net"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert Path("net", "tokenizer.json").is_file()
    again = ("--model", "net", "--method", "from-checkpoint", "--recipe", "steps=0", "--output", "t")
    assert scored(*again) == own
