"""Imports: plans and tables need no tensors, and no two files or folders import each other in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from smc_eval.experiment.config import configured
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import Resolver
from smc_eval.registry import registry
from smc_eval.store.record import blank_record
from smc_eval.store.records import RecordsFile
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.testing import record_with

HEAVY = ("accelerate", "datasets", "scipy", "torch", "transformers")

PROGRAM = """
import sys
if sys.argv[1:]:
    from smc_eval.cli import main
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
else:
    import smc_eval
print("imported:", *sorted(set({heavy}) & sys.modules.keys()))
"""

RUN_FLAGS = ("--model", "tiny", "--method", "omp-after", "--tasks", "all", "--sparsity", "0.5,2:4")


def heavy_imports(*arguments: str, heavy: tuple[str, ...] = HEAVY) -> str:
    """The heavy packages that a call of the command line imports; `import smc_eval` without arguments."""
    code = PROGRAM.format(heavy=heavy)
    command = [sys.executable, "-c", code, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", HEAVY)
def test_the_check_sees_each_heavy_package(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {name}\n" + PROGRAM.format(heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == f"imported: {name}"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("run", "--help"),
        ("list",),
        ("list", "--json"),
        ("show", "omp-after"),
        ("data", "list"),
    ],
    ids=" ".join,
)
def test_help_and_lists_import_no_heavy_package(arguments: tuple[str, ...]) -> None:
    assert heavy_imports(*arguments) == "imported:"


def test_a_new_plugin_is_written_without_heavy_packages(tmp_path: Path) -> None:
    assert heavy_imports("new", "updater", "row-norm", "--to", str(tmp_path)) == "imported:"
    assert (tmp_path / "smc-eval-row-norm").is_dir()


def test_data_is_verified_without_heavy_packages() -> None:
    for name, task in (("mawps-asdiv-a_svamp", "svamp"), ("RACE", "race"), ("meltome", "meltome")):
        assert heavy_imports("data", "verify", str(synthetic_folder(name)), task) == "imported:"


def test_a_plan_imports_no_heavy_package(tmp_path: Path) -> None:
    assert heavy_imports("plan", *RUN_FLAGS, "--output", str(tmp_path)) == "imported:"


def test_a_model_folder_is_refused_without_heavy_packages(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    code = (
        "from smc_eval.tasks.backbone import find_backbone\n"
        "from smc_eval.tasks.text_encoder import TextEncoder\n"
        "from smc_eval.kind import WrongKind\n"
        f"try:\n    find_backbone({str(tmp_path)!r}, TextEncoder())\n"
        "except WrongKind as error:\n    print(error)\n" + PROGRAM.format(heavy=HEAVY)
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "of the type 'gpt2', and transformers has no text encoder" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "imported:"


def test_the_table_of_smc_bench_is_planned_without_heavy_packages_models_or_data(tmp_path: Path) -> None:
    arguments = (
        "plan",
        "--grid",
        "smc-bench",
        "--quiet",
        "--tasks",
        "csqa,translation",
        "--output",
        str(tmp_path),
    )
    assert heavy_imports(*arguments) == "imported:"


def test_a_report_imports_no_heavy_package(tmp_path: Path) -> None:
    RecordsFile(tmp_path).add(
        record_with(task="mawps/gts", group="mawps", fold=0, score={"metric": "value accuracy (%)"})
    )
    assert heavy_imports("report", str(tmp_path)) == "imported:"
    assert heavy_imports("report", str(tmp_path), "--curves") == "imported:"
    assert heavy_imports("report", str(tmp_path), "--html", str(tmp_path / "page.html")) == "imported:"


def test_the_help_of_the_program_imports_no_verb() -> None:
    code = PROGRAM.format(heavy=("smc_eval.cli.run", "smc_eval.cli.flags", "pydantic", "numpy", "rich"))
    ran = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "imported:"


def test_lists_import_neither_numpy_nor_what_runs_and_reports() -> None:
    heavy = ("numpy", "rich", "smc_eval.cli.run", "smc_eval.engine.executors", "smc_eval.reporting.table")
    assert heavy_imports("list", heavy=heavy) == "imported:"


def test_a_table_of_single_seeds_imports_no_numpy(tmp_path: Path) -> None:
    RecordsFile(tmp_path).add(record_with())
    for words in ((), ("--format", "markdown"), ("--format", "latex")):
        assert heavy_imports("report", str(tmp_path), *words, heavy=("numpy", *HEAVY)) == "imported:"


def test_a_run_with_nothing_left_to_do_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    flags = ("--model", "tiny", "--method", "omp-after", "--tasks", "svamp/gts", "--sparsity", "0.5")
    config = configured({flag[2:]: [word] for flag, word in zip(flags[::2], flags[1::2], strict=True)})
    cells = Resolver().resolve_all(Grid.of(config, registry()).cells())
    done = record_with()
    for cell in cells:
        parts = {name: getattr(done, name) for name in ("score", "sparsity", "certificate", "cost")}
        RecordsFile(tmp_path).add(replace(blank_record(cell.cell, cell.chain), status="ok", **parts))
    assert len(cells) == 2  # the dense net too
    words = ("run", *flags, "--output", str(tmp_path))
    assert heavy_imports(*words, heavy=("numpy", *HEAVY)) == "imported:"


def test_the_help_of_the_program_imports_no_task() -> None:
    code = PROGRAM.format(heavy=("smc_eval.tasks",))
    ran = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "imported:"


# The import graph, with imports inside functions and under TYPE_CHECKING. The face of the package loads its
# names lazily, and is left out.

MOST_FLOORS = 16
"""Longest chain of imports among root files and folders, a folder as one node."""

MOST_ROOT_FILES = 20

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Files by module name."""
    names = {path: path.relative_to(root).with_suffix("").parts for path in (root / "smc_eval").rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in names.items()}


def imports(root: Path) -> Graph:
    """For each module, the modules of the package that it imports."""
    files = modules(root)
    graph: Graph = {}
    for module, path in files.items():
        graph[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                while name and name not in files:
                    name = name.rpartition(".")[0]
                graph[module] |= {name} - {"", module, "smc_eval"}
    del graph["smc_eval"]
    return graph


def rooms(graph: Graph, folder: str) -> Graph:
    """The graph of the files and folders in a folder."""

    def node(module: str) -> str:
        return module.removeprefix(f"{folder}.").partition(".")[0] if module.startswith(f"{folder}.") else ""

    nodes: Graph = {node(module): set() for module in graph}
    for module, names in graph.items():
        nodes[node(module)] |= {node(name) for name in names} - {"", node(module)}
    nodes.pop("", None)
    return nodes


def circle(graph: Graph) -> list[str]:
    """A circle of the graph; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floors(graph: Graph) -> int:
    """Length of the longest chain."""
    height = dict[str, int]()
    for name in TopologicalSorter(graph).static_order():
        height[name] = 1 + max((height[below] for below in graph[name]), default=0)
    return max(height.values())


def test_no_files_import_each_other_in_a_circle(root: Path) -> None:
    assert circle(imports(root)) == []


def test_no_folders_import_each_other_in_a_circle(root: Path) -> None:
    graph = imports(root)
    folders = [name for name, path in modules(root).items() if path.name == "__init__.py"]
    assert len(folders) > 15
    assert {name: circle(rooms(graph, name)) for name in folders if circle(rooms(graph, name))} == {}


def test_the_longest_chain_of_imports_does_not_grow(root: Path) -> None:
    assert floors(rooms(imports(root), "smc_eval")) <= MOST_FLOORS


def test_the_root_holds_few_files(root: Path) -> None:
    assert len(list((root / "smc_eval").glob("*.py"))) <= MOST_ROOT_FILES


def test_the_checks_see_circles_and_floors(tmp_path: Path) -> None:
    package = tmp_path / "smc_eval"
    sources = {
        "__init__": "from smc_eval.a import x",
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from smc_eval.b import y",
        "b": "def f():\n    import smc_eval.c.d",
        "c/__init__": "",
        "c/d": "",
        "c/e": "from smc_eval.f import z",
        "f": "",
    }
    for name, source in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(source)
    graph = imports(tmp_path)
    assert circle(graph) == [] and floors(rooms(graph, "smc_eval")) == 4
    (package / "f.py").write_text("from smc_eval.c import d")  # no circle among files, but among rooms
    graph = imports(tmp_path)
    assert circle(graph) == [] and set(circle(rooms(graph, "smc_eval"))) == {"c", "f"}
    (package / "c" / "d.py").write_text("from smc_eval import a")
    assert {"smc_eval.a", "smc_eval.b", "smc_eval.c.d"} == set(circle(imports(tmp_path)))
