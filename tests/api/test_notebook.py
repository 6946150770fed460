"""The notebook of the documents, executed."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "prune.ipynb"


def test_the_notebook_runs_from_prune_to_save(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient, as in tox -e notebook")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat, as in tox -e notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    texts = [data.get("text/plain", "") for data in shown]
    pages = [data.get("text/html", "") for data in shown]
    assert any("all checks passed" in page for page in pages)
    assert "0" in texts  # no masked weight is left after training
    assert "True" in texts  # the folder has the same weights
    assert any(page.startswith("<pre>task") for page in pages)


def test_the_notebook_is_stored_without_outputs() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert '"outputs": []' in text
    assert '"output_type"' not in text
