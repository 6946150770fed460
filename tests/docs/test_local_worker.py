"""The worker that the search of the site has on pages opened as files, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = """<!doctype html><title>x</title>{script}<script>
window.answers = [];
try {{
  window.worker = new Worker("inner/double.js");
  worker.onmessage = (event) => answers.push(event.data);
  worker.onerror = () => answers.push("refused");
  [1, 2].forEach((number) => worker.postMessage({{ number }}));
}} catch (error) {{ answers.push("refused"); }}
</script>"""

WORKER = "self.onmessage = (event) => self.postMessage({ twice: 2 * event.data.number });"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    yield page
    page.close()


def opened(page: Any, folder: Path, script: str) -> Any:
    """A page that asks a worker for the doubles of 1 and 2, opened as a file."""
    (folder / "inner").mkdir()
    (folder / "inner" / "double.js").write_text(WORKER, encoding="utf-8")
    (folder / "page.html").write_text(PAGE.format(script=script), encoding="utf-8")
    page.goto((folder / "page.html").as_uri())
    page.wait_for_function("answers.length > 0", timeout=30_000)
    return page


def test_a_browser_refuses_workers_of_files(page: Any, tmp_path: Path) -> None:
    assert opened(page, tmp_path, "").evaluate("answers[0]") == "refused"


def test_the_own_worker_answers_all_messages_in_order_until_it_ends(
    page: Any, tmp_path: Path, root: Path
) -> None:
    script = (root / "docs" / "site" / "assets" / "local_worker.js").read_text(encoding="utf-8")
    own = opened(page, tmp_path, f"<script>{script}</script>")
    own.wait_for_function("answers.length == 2", timeout=30_000)
    assert own.evaluate("answers") == [{"twice": 2}, {"twice": 4}]
    own.evaluate("worker.terminate(); worker.postMessage({number: 3})")
    own.wait_for_timeout(300)
    assert own.evaluate("[answers.length, document.querySelectorAll('iframe').length]") == [2, 0]
