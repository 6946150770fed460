"""The Python reference: every public name on one page, in groups by what a reader wants to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

import smc_eval
from smc_eval_docs.page import ROOT, Page, table

LIST = "python-reference.md"
"""The list of the pages of the reference."""

GROUPS: Mapping[str, tuple[str, Sequence[str]]] = {
    "scripts": (
        "Run, read and prune from scripts",
        ("api.evaluate", "api.results", "api.prune", "api.pruned_net", "api.sparsity_callback", "errors"),
    ),
    "method": ("Write a method", ("method", "stages", "pruner", "updater", "target")),
    "probe": ("What a pruner sees", ("sparse.inputs", "sparse.shard_group")),
    "task": ("Write a task", ("task", "score", "recipe", "data_file", "capabilities")),
    "model": (
        "Add a kind of model",
        (
            "kind",
            "tasks.backbone",
            "tasks.checkpoint_tensors",
            "tasks.transformers_kind",
            "tasks.text_encoder",
            "tasks.protein.protein_encoder",
            "tasks.translation.kind",
        ),
    ),
    "plugin": (
        "Register a plugin; optimizers and trackers",
        ("hookspecs", "card", "optimizer", "trackers.tracker", "spec"),
    ),
}
"""The pages: title, and the modules whose public names stand there."""

INTRODUCTION = (
    "All public names, from their types and docstrings. `from smc_eval import NAME` imports each; importing "
    "`smc_eval` loads no torch. [From Python](python.md) has examples."
)

TEST_KIT = ROOT / "smc_eval" / "testing" / "__init__.py"

TESTING = "testing"
"""The page of the test kit."""


def reference_pages() -> Iterator[Page]:
    """The list of pages, and each page. mkdocstrings fills the names in when the site is built."""
    names = {key: public_names(modules) for key, (_, modules) in GROUPS.items()}
    rows = [
        (f"[{title}](python-reference/{key}.md)", ", ".join(_link(key, name) for name in names[key]))
        for key, (title, _) in GROUPS.items()
    ]
    rows.append((f"[Test a plugin](python-reference/{TESTING}.md)", "`smc_eval.testing`"))
    text = f"# Python reference\n\n{INTRODUCTION}\n\n"
    yield Page(LIST, "All names", text + table(("page", "names"), rows) + "\n")
    for key, (title, _) in GROUPS.items():
        yield Page(f"python-reference/{key}.md", title, f"# {title}\n\n" + _sections("smc_eval", names[key]))
    yield Page(f"python-reference/{TESTING}.md", "Test a plugin", _testing())


def public_names(modules: Sequence[str]) -> list[str]:
    """The public names of some modules, in order."""
    return [name for module in modules for name in smc_eval.MODULES[module].split()]


def _link(key: str, name: str) -> str:
    return f"[`{name}`](python-reference/{key}.md#smc_eval.{name})"


def _sections(module: str, names: Sequence[str]) -> str:
    return "\n\n".join(f"::: {module}.{name}" for name in names) + "\n"


def kit_names() -> list[str]:
    """The names of the test kit, contracts first. They are read and not imported: importing needs torch."""
    tree = ast.parse(TEST_KIT.read_text(encoding="utf-8"))
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return sorted(names, key=lambda name: not name.endswith("Contract"))


def _testing() -> str:
    """The page of the test kit."""
    return "# Test a plugin\n\n" + _sections("smc_eval.testing", kit_names())
