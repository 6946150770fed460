"""The documents agree with the code."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

import smc_eval
from smc_eval import Target, hookspecs, registry, spec
from smc_eval.card import TaskCard
from smc_eval.cli import app
from smc_eval.experiment.grid import recipe_of
from smc_eval.experiment.spec_text import parse_spec
from smc_eval.methods import smc_eval_methods
from smc_eval.protocol import PROTOCOLS, Protocol
from smc_eval.recipe import Recipe
from smc_eval.spec import Card
from smc_eval.store.records import RecordsFile
from smc_eval.testing import (
    KindContract,
    MethodContract,
    OptimizerContract,
    TaskContract,
    TrackerContract,
    check_promise,
    promises_of,
    record_with,
    step_view,
)
from smc_eval.trackers.tracker import TrackedCell

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLUGINS = "\n".join(
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("plugins", "method", "task", "parts")
)
HOME = "https://github.com/smc-eval/smc-eval/blob/main/"
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("plugins/*/*.md"),
    ]
)
REGISTRY = registry.load_registry().checked()
KINDS = (*REGISTRY.methods.values(), *REGISTRY.tasks.values())
CARDS = [kind.card for kind in KINDS if kind.__module__.startswith("smc_eval.")]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def signatures() -> Iterator[str]:
    """The hooks as they are written, without comments for type checkers."""
    source = Path(hookspecs.__file__).read_text(encoding="utf-8")
    for line in re.findall(r"^@hookspec\n(def .*)$", source, flags=re.MULTILINE):
        yield line.partition("  #")[0]


def test_this_check_finds_all_hooks() -> None:
    assert len(list(signatures())) == 5


@pytest.mark.parametrize("signature", list(signatures()))
def test_every_hook_is_shown_with_its_exact_signature(signature: str) -> None:
    assert any(signature in block for block in blocks(PLUGINS, "python"))


def test_the_example_of_the_readme_is_the_plugin_that_is_tested() -> None:
    plugin = ROOT / "plugins" / "smc-eval-hello"
    assert (plugin / "smc_eval_hello.py").read_text(encoding="utf-8") in blocks(README, "python")
    whole = (plugin / "pyproject.toml").read_text(encoding="utf-8")
    (shown,) = (tomllib.loads(block) for block in blocks(PLUGINS, "toml"))
    assert shown["project"].items() <= tomllib.loads(whole)["project"].items()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_has_a_source(card: Card) -> None:
    baseline = getattr(card, "when", "") == "none"  # nothing was published there
    assert baseline or re.search(r"\(\d{4}\)|arXiv:\d{4}\.\d{4,5}|https://\S+", card.source)


def test_the_changelog_knows_this_version() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(smc_eval.__version__)}\]", log, flags=re.MULTILINE)


def test_ci_runs_the_second_command_of_the_readme() -> None:
    _main, tests, *_ = blocks(README, "sh")
    assert tests.strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_first_command_runs_every_task() -> None:
    main, *_ = blocks(README, "sh")
    assert "smc-eval --model tiny --method snip --tasks all --sparsity 0.5,0.8" in main


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 150


def test_every_flag_that_the_documents_name_exists() -> None:
    command = get_command(app)
    commands = [command, *getattr(command, "commands", {}).values()]
    known = {
        flag for one in commands for option in one.params for flag in (*option.opts, *option.secondary_opts)
    }
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    shown = {
        line
        for text in texts
        for block in blocks(text, "sh")
        for line in re.findall(r"smc-eval[^\n]*", block.replace("\\\n", " "))
    }
    named = {flag for line in shown for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", line)}
    assert named <= known | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_into_the_repository_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    absolute = re.findall(rf"\]\({re.escape(HOME)}([^)#\s]+)", text)
    assert [link for link in absolute if not (ROOT / link).exists()] == []
    links = re.findall(r"\]\((?!https?://)([^)#\s]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_links_of_the_readme_are_absolute() -> None:
    assert re.findall(r"\]\((?!https://)[^)]*\)", README) == []


def test_the_readme_names_every_task_and_method() -> None:
    assert [card.name for card in CARDS if f"`{card.name}`" not in README] == []


def test_the_updater_of_the_documents_prunes_at_half_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_CLAIMED", dict(spec._CLAIMED))
    (example,) = (block for block in blocks(PLUGINS, "python") if "SmallestGoAtHalfTime" in block)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "plugins.md", "exec", dont_inherit=True), names)
    updater = names["SmallestGoAtHalfTime"](to=Target(sparsity=0.5))
    for step, remaining in ((1, 4), (2, 2)):
        view = step_view({"w": torch.tensor([[0.1, 0.4, 0.3, 0.2]])}, {}, at=step, steps=4)
        updater.update(view, updater.init(view.weights, view.masks))
        assert int(view.masks["w"].sum()) == remaining


def example_module(words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of an example of the documents that has these words."""
    monkeypatch.setattr(spec, "_CLAIMED", dict(spec._CLAIMED))
    (example,) = (block for block in blocks(PLUGINS, "python") if words in block)
    name = re.sub(r"\W+", "_", words).strip("_").lower() + "_of_the_documents"
    (folder / f"{name}.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module(name)


def keep_contract(contract: Any, *without: str) -> None:
    """All promises of a contract are kept, but for some."""
    promises = [promise for promise in promises_of(type(contract)) if promise.test not in without]
    assert len(promises) > 5
    for promise in promises:
        verdict = check_promise(contract, promise)
        assert verdict.result == "kept", f"{promise.words}: {verdict.reason}"


def test_the_optimizer_of_the_documents_keeps_the_contract_of_optimizers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = example_module("class SharpnessAware(Optimizer)", tmp_path, monkeypatch)
    contract = type("TestSharpness", (OptimizerContract,), {"optimizer": module.SharpnessAware()})()
    keep_contract(contract)


def test_the_tracker_of_the_documents_keeps_the_contract_of_trackers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = example_module("class JsonLines(Tracker)", tmp_path, monkeypatch)

    def logged(_: Any, cell: TrackedCell) -> dict[str, list[tuple[int, float]]]:
        found: dict[str, dict[int, float]] = {}
        text = (cell.store / "lines" / cell.group / f"{cell.id}.jsonl").read_text(encoding="utf-8")
        for line in map(json.loads, text.splitlines()):
            for name in line.keys() - {"step"}:
                found.setdefault(name, {})[line["step"]] = line[name]
        return {name: sorted(values.items()) for name, values in found.items()}

    contract = type("TestLines", (TrackerContract,), {"tracker": module.JsonLines(), "logged": logged})()
    keep_contract(contract)


def test_every_tracker_stands_in_the_documents() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8").partition("## Trackers")[2]
    for name, tracker in REGISTRY.trackers.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert all(f"`{option}`" in row for option in tracker.model_fields)


def test_the_kind_of_the_documents_keeps_the_contract_of_kinds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    module = example_module("class CausalLanguageModel(TransformersKind)", tmp_path, monkeypatch)

    def save(_: Any, folder: Path) -> None:
        config = LlamaConfig(
            vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
        )
        LlamaForCausalLM(config).save_pretrained(folder)

    kind = module.CausalLanguageModel()
    contract = type("TestCausal", (KindContract,), {"kind": kind, "save": save})()
    keep_contract(contract, "test_its_tokenizer_is_loaded_or_there_is_none")


def test_the_method_in_twenty_lines_keeps_the_contract_of_methods(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = example_module("class InTwoSteps(Method)", tmp_path, monkeypatch)
    assert module.smc_eval_methods() == [module.InTwoSteps]
    contract = type("TestInTwoSteps", (MethodContract,), {"method": module.InTwoSteps(), "quick": True})
    keep_contract(contract())


def test_the_method_has_twenty_lines_and_the_task_sixty() -> None:
    (method,) = (block for block in blocks(PLUGINS, "python") if "class InTwoSteps(Method)" in block)
    (task,) = (block for block in blocks(PLUGINS, "python") if "class Largest(Task)" in block)
    counts = [sum(1 for line in block.splitlines() if line.strip()) for block in (method, task)]
    assert 15 <= counts[0] <= 20 and 40 <= counts[1] <= 60


def test_the_task_of_the_documents_keeps_the_contract_of_tasks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spec, "_CLAIMED", dict(spec._CLAIMED))
    (example,) = (block for block in blocks(PLUGINS, "python") if "class Largest(Task)" in block)
    (tmp_path / "largest_of_the_documents.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("largest_of_the_documents")
    assert module.smc_eval_tasks() == [module.Largest]
    contract = type("TestLargest", (TaskContract,), {"task": module.Largest()})()
    keep_contract(contract)


def test_the_fields_of_a_card_of_a_task_stand_in_the_documents() -> None:
    table = PLUGINS.partition("The fields of a `TaskCard`")[2]
    assert [name for name in TaskCard.model_fields if f"`{name}`" not in table] == []


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """benchmarks/methods.py, which writes the tables of docs/methods.md."""
    return script("methods")


def script(name: str) -> ModuleType:
    """A script of benchmarks, as a module."""
    found = importlib.util.spec_from_file_location(
        f"{name}_of_the_documents", ROOT / "benchmarks" / f"{name}.py"
    )
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [
        "newcomers",
        "smollm2",
        "lazy",
        "tuned-gmp",
        "where-it-hurts",
        "difficulty",
        "picking",
        "sparse-translation",
    ],
)
def test_the_tables_of_findings_are_those_of_the_records(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    findings = script("findings")
    if findings.document(name) != findings.page(name).read_text(encoding="utf-8"):
        pytest.fail(f"docs/findings/{name}.md is out of date; run: python benchmarks/findings.py")


def test_the_table_of_mutants_is_that_of_the_tests() -> None:
    mutants, text = script("mutants"), (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    if mutants.mutants_document(text) != text:
        pytest.fail("docs/contracts.md is out of date; run: python benchmarks/mutants.py")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "is killed by the" not in line]
    assert len(rows) == len(list(mutants.kills())) >= 70


def test_the_tables_of_methods_are_those_of_the_cards_and_plans(generator: ModuleType) -> None:
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    if generator.document(text, smc_eval_methods()) != text:
        pytest.fail("docs/methods.md is out of date; run: python benchmarks/methods.py")


def test_a_row_of_the_table_of_methods_by_hand(generator: ModuleType) -> None:
    chosen = [REGISTRY.methods[name] for name in ("lth", "snip-rigl", "synflow")]
    _, _, lth, rigl, synflow = generator.tables(chosen).partition("\n\n")[0].splitlines()
    # 0.8^7 = 0.210 and 0.8^8 = 0.168 of the weights: eight rounds below 0.2, and the first training
    assert lth.endswith("| free, heads, neurons | `global` | 9 trainings |  |")
    # every 100 steps until three quarters of 1,000: 100 to 700
    assert "| free | `global` | 1 training + 64 passes + dense gradients in 7 of 1,000 steps |" in rigl
    assert "| 1 training + 100 passes | tasks without outputs; `--shard` |" in synflow  # one a round


def test_every_shipped_method_that_prunes_says_what_decides() -> None:
    cards = [kind.card for kind in smc_eval_methods() if kind.card.when not in {"none", "custom"}]
    assert [card.name for card in cards if not card.criterion] == []


def test_the_distributions_of_every_method_stand_in_the_documents() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = text.partition("| method | default distribution |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    shown = {name: row for row in rows for name in (re.findall(r"`([^`]+)`", row[0]) or row[:1])}
    for name, kind in REGISTRY.methods.items():
        if kind.__module__.startswith("smc_eval.") and kind.card.when not in {"none", "custom"}:
            _, default, supported = shown.get(name, shown["all others"])
            assert default == f"`{kind.card.distribution}`"
            wanted = kind.card.distributions
            assert supported == (", ".join(f"`{one}`" for one in wanted) if wanted else "all")
    assert shown.keys() - {"all others"} <= REGISTRY.methods.keys()


def test_the_records_are_read_as_the_document_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RecordsFile(tmp_path / "smc-eval-runs").add(record_with(task="t/a", method="lth"))
    monkeypatch.chdir(tmp_path)
    (example,) = blocks((ROOT / "docs" / "records.md").read_text(encoding="utf-8"), "python")
    exec(example, {})
    assert capsys.readouterr().out == "t/a lth 80.0 0.5\n"


# The table of docs/protocols.md, by its columns.


def table_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Its rows: id, the official code, `paper`, `sound`, why."""
    for line in (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and re.fullmatch(r"[A-Z][0-9]+", cells[0]):
            yield cells[0], cells[1], cells[2], cells[3], cells[4]


def values(protocol: str) -> Iterator[tuple[str, str]]:
    """`name=value` and `name:option=value` of a protocol's column, options one by one."""
    for row in table_rows():
        for text in re.findall(r"`([a-z][^`]*=[^`…]+)`", row[2 if protocol == "paper" else 3]):
            if text.startswith("--") or "=[" in text:
                continue
            name, colon, options = text.rpartition(":")
            for option in options.split(","):
                yield f"{name}{colon}{option.partition('=')[0]}", option.partition("=")[2]


def value_in_code(protocol: Protocol, key: str) -> object:
    """What the code has for a key of the table."""
    name, colon, option = key.rpartition(":")
    if not colon:
        return getattr(protocol, option)
    if name in REGISTRY.groups and option in Recipe.model_fields:
        kinds = REGISTRY.groups[name]
        (value,) = {getattr(recipe_of(kind, kind.card.published, protocol), option) for kind in kinds}
        return value
    kind = REGISTRY.methods.get(name) or REGISTRY.tasks[name]
    own = kind.paper if protocol.name == "paper" else {}
    return own.get(option, kind.model_fields[option].default)


SUGGESTED = {("snip:batches", "101"), ("lth:rewind", "rate"), ("obert:levels", "10")}
"""Values of the table that no protocol has: a user may set them."""


def test_the_table_of_protocols_has_rows_with_names_of_their_own() -> None:
    names = [row[0] for row in table_rows()]
    assert len(names) > 45 and len(set(names)) == len(names)
    for letter in {name[0] for name in names}:
        own = [int(name[1:]) for name in names if name[0] == letter]
        assert own == list(range(1, len(own) + 1)), letter


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_value_in_the_table_of_protocols_is_the_codes(protocol: Protocol) -> None:
    pairs = set(values(protocol.name)) - SUGGESTED
    assert {(key, str(value_in_code(protocol, key))) for key, _ in pairs} == pairs


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_all_that_a_protocol_changes_stands_in_the_table(protocol: Protocol) -> None:
    wanted = {field for field in Protocol.model_fields if field != "name"}
    wanted |= {f"{name}:{option}" for name, kind in REGISTRY.methods.items() for option in kind.paper}
    wanted |= {f"{name}:{option}" for name, kind in REGISTRY.tasks.items() for option in kind.paper}
    assert wanted <= {key for key, _ in values(protocol.name)}


def test_what_the_table_suggests_can_be_said() -> None:
    for key, value in SUGGESTED:
        name, _, option = key.partition(":")
        assert (
            str(getattr(parse_spec(REGISTRY.methods[name], {option: value}, "option", name), option)) == value
        )


def test_the_price_of_the_papers_table_is_what_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    ((rates,), (command,), (shown,)) = (blocks(document, language) for language in ("toml", "sh", "text"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMC_EVAL_DATA", raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    Path("rates.toml").write_text(rates, encoding="utf-8")
    ended = CliRunner().invoke(app, command.split()[1:])
    assert [line.rstrip() for line in ended.stdout.splitlines()] == shown.splitlines()


def test_what_the_document_on_scale_shows_is_what_the_one_on_plans_does() -> None:
    (priced,) = blocks((ROOT / "docs" / "plan.md").read_text(encoding="utf-8"), "text")
    makespans, sharing = blocks((ROOT / "docs" / "scale.md").read_text(encoding="utf-8"), "text")
    assert makespans.partition("\n")[2] in priced
    rows = [line.split() for line in priced.splitlines()]
    arithmetic = [row for row in rows if len(row) == 8 and row[1] == "roberta-base"]
    counts = [sum(int(row[column].replace(",", "")) for row in arithmetic) for column in (2, 3, 4)]
    (total,) = (line.split()[1:4] for line in sharing.splitlines() if line.startswith("all "))
    assert total == [f"{count:,}" for count in counts]


def test_the_page_for_python_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks((ROOT / "docs" / "python.md").read_text(encoding="utf-8"), "python"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        exec(compile(code, "python.md", "exec", dont_inherit=True), {"__name__": "page"})
    shown = capsys.readouterr().out
    assert "640 of 1,280 weights in scope remain; all checks passed\n640 of 1280\n" in shown
    assert "\n0\nno method is named 'wand'; did you mean 'wanda'?" in shown
