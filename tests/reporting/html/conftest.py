"""Made-up records and mask samples."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from smc_eval.reporting.html.page import Page
from smc_eval.reporting.series import Panel, panels_of
from smc_eval.reporting.table import table_of
from smc_eval.store.mask_samples import MaskSample
from smc_eval.store.record import Record
from smc_eval.target import SMC_GRID
from smc_eval.testing import record_with


def make_record(
    method: str = "lth", sparsity: float = 0.36, value: float | None = 60.0, **changes: Any
) -> Record:
    """A record of an installed task; a failed one if `value` is None."""
    sparsity = 0.0 if method == "dense" else sparsity
    seed, fold, ok = (changes.pop(k, d) for k, d in (("seed", 0), ("fold", None), ("ok", True)))
    task, pattern = changes.pop("task", "csqa"), changes.pop("pattern", "free")
    in_scope = changes.pop("reached_scope", sparsity)  # of heads, where the target is a share of them
    tensors = changes.pop("tensors", {"a.weight": sparsity, "b.weight": sparsity})
    done = value is not None
    certificate = {"ok": ok, "failed": [] if ok else ["3 weights remain, 2 expected"], "asked": sparsity}
    certificate |= {"reached": sparsity, "tensors": tensors, "mask_digest": "a" * 64}
    certificate |= {"dead_tensors": [name for name, share in tensors.items() if share == 1]}
    certificate |= changes.pop("certificate", {})
    score = {"metric": changes.pop("metric", "accuracy (%)"), "value": value, "n": 100, "signature": ""}
    cost = {"steps": changes.pop("steps", 100), **changes.pop("cost", {})}
    return record_with(
        task=task,
        group="g",
        model=changes.pop("model", "roberta-large"),
        method=method,
        seed=seed,
        fold=fold,
        target={"sparsity": sparsity, "pattern": pattern}
        | ({"distribution": "uniform"} if pattern[:1].isdigit() else {}),
        digest=f"{task} {method} {sparsity} {pattern} {seed} {fold}",
        status="ok" if done else "failed",
        reason="" if done else "out of <memory>\ntry less",
        score=score if done else None,
        sparsity={"scope": in_scope, "weights": in_scope, "all": 0.9 * in_scope},
        certificate=certificate if done else None,
        cost=cost,
        versions={"torch": "2.13"},
        **changes,
    )


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Makes records."""
    return make_record


def first_panel(records: Sequence[Record]) -> Panel:
    return panels_of(table_of(records), {"csqa": 20.0, "meltome": 0.0})[0]


@pytest.fixture(scope="session")
def panel_of() -> Callable[[Sequence[Record]], Panel]:
    """Makes the first panel of records."""
    return first_panel


def mask_sample_of(bits: str) -> MaskSample:
    """The mask of a small tensor, with every place sampled."""
    number = int(bits, 2) << (-len(bits) % 8)
    text = base64.b64encode(number.to_bytes(-(-len(bits) // 8), "big")).decode()
    return MaskSample.read(len(bits), len(bits), text)


@pytest.fixture(scope="session")
def mask_sample() -> Callable[[str], MaskSample]:
    """Makes mask samples from their bits."""
    return mask_sample_of


@pytest.fixture(scope="session")
def several() -> list[Record]:
    """Two tasks, three methods, two seeds, two sparsities; one failed cell, one failed certificate."""
    records = []
    for seed in (0, 1):
        records += [
            make_record("dense", value=77 + seed, seed=seed),
            make_record("dense", value=75, seed=seed, task="race/high"),
        ]
        for method, lost in (("lth", 2), ("omp-after", 5), ("snip", 40)):
            for sparsity in (0.36, 0.672):
                value = 77 + seed - lost * sparsity * 2
                tensors = {"a.weight": sparsity, "b.weight": 1.0 if method == "snip" else sparsity}
                changes = {"seed": seed, "tensors": tensors, "steps": 100 + lost}
                records.append(make_record(method, sparsity, value, **changes))
    return [
        *records,
        make_record("gmp", 0.36, None),
        make_record("gmp", 0.672, 50.0, ok=False),
        make_record("lth", 0.36, 70.0, task="race/high"),
    ]


@dataclass
class OpenPage:
    """An open page, its messages and its requests."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def opening(browser: Any) -> Iterator[Callable[..., OpenPage]]:
    """Opens files in windows of a width, and waits until their figures are drawn; closes them at the end."""
    contexts = []

    def open_file(file: Path, width: int, theme: str = "light", script: str = "") -> OpenPage:
        size = {"width": width, "height": 844}
        contexts.append(browser.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce"))
        opened = OpenPage(contexts[-1].new_page())
        opened.page.on("console", lambda message: opened.messages.append(message.text))
        opened.page.on("pageerror", lambda error: opened.messages.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        if script:
            opened.page.add_init_script(script)
        opened.page.goto(file.as_uri())
        opened.page.wait_for_selector('html[data-ready="yes"]', timeout=60_000)
        return opened

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., OpenPage]]:
    """Opens a file in a window of a width, and waits until its figures are drawn."""
    with opening(browser) as open_file:
        yield open_file


HEIGHTS = "[...document.querySelectorAll('figure')].map((figure) => figure.offsetHeight)"


@pytest.fixture(scope="module", params=[360, 768, 1280, 1920])
def shown(request: pytest.FixtureRequest, browser: Any, rich_page: Path) -> Iterator[OpenPage]:
    """The rich page at a width, for several tests: they leave it as it is.

    `window.heights` has the heights of its cards before any script of the page ran.
    """
    script = f"document.onreadystatechange = () => {{ window.heights ??= {HEIGHTS}; }};"
    with opening(browser) as open_file:
        yield open_file(rich_page, request.param, script=script)


def rich_records() -> list[Record]:
    """Five methods, ten sparsities and two patterns, two seeds; a second task; all kinds of trouble."""
    flops = {"flops": {part: {"dense": 10, "sparse": 8} for part in ("train", "predict")}}
    moved = {"moved": {"tensors_remaining": {"a.weight": 0.1, "b.weight": 0.2}}}
    parts = {"cost": flops, "certificate": moved}
    places = [*((sparsity, "free") for sparsity in SMC_GRID), (0.5, "2:4"), (0.75, "1:4")]
    records = [make_record("dense", value=77 + seed, seed=seed, **parts) for seed in (0, 1)]
    for at, method in enumerate(("lth", "omp-after", "snip", "wanda", "random-before (erk)")):
        for sparsity, pattern in places:
            changes: dict[str, Any] = {"pattern": pattern, "steps": 100 + at, **parts}
            score = 77 - 8 * at * sparsity
            records += [make_record(method, sparsity, score + seed, seed=seed, **changes) for seed in (0, 1)]
    other: dict[str, Any] = {"task": "mawps/gts:hidden=128,embedding=128", **parts}
    records += [make_record(*cell, **other) for cell in (("dense", 0.0, 77), ("lth", SMC_GRID[4], 70))]
    dead = {"tensors": {"a.weight": 0.5, "b.weight": 1.0}, "certificate": moved | {"effective": 1.0}}
    return [
        *records,
        make_record("gmp", SMC_GRID[1], None),
        make_record("gmp", SMC_GRID[4], 50.0, ok=False, **parts),
        make_record("synflow", SMC_GRID[2], 20.0, cost=flops, **dead),
    ]


@pytest.fixture(scope="session")
def rich_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything that a page can show."""
    records = rich_records()
    samples = {record.digest: {"a": mask_sample_of("11110000")} for record in records}
    path = tmp_path_factory.mktemp("rich") / "page.html"
    path.write_text(Page.of(table_of(records), samples.get).html, encoding="utf-8")
    return path
