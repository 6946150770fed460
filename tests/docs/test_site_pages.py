"""The pages of the site: one for each method and task, and everything that they name exists."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from os.path import normpath
from pathlib import Path, PurePosixPath

import pytest
from smc_eval_docs import pictures
from smc_eval_docs.methods import measured_columns
from smc_eval_docs.nav import as_toml, navigation
from smc_eval_docs.outside import FOLDER, finding, findings
from smc_eval_docs.page import CODE, HOME, Page, paragraphs, plain, table
from smc_eval_docs.pictures import Marked, made_file, marks_of, terminal_svg
from smc_eval_docs.python_reference import kit_names
from smc_eval_docs.record_schema import type_words
from smc_eval_docs.site import all_pages, write_site
from smc_eval_docs.written import ASSETS, BLOCK, LINK, relinked, sources, without_escaped_bars

import smc_eval
from smc_eval import testing
from smc_eval.cli.verbs import VERBS, verb_command
from smc_eval.methods import smc_eval_methods
from smc_eval.tasks import smc_eval_tasks

METHODS = {kind.card.name: kind for kind in smc_eval_methods()}
TASKS = {kind.card.name: kind for kind in smc_eval_tasks()}

WORDS = [
    *("Card", "Cell", "Certificate", "Criterion", "Lease", "Panel", "Probe", "Protocol", "Pruner"),
    *("Recipe", "Saliency", "Scope", "Scratch", "Signature", "Sound", "Target", "Tiny"),
]
"""The words of this suite that other software does not have, or has for something else."""


@pytest.fixture(scope="module")
def pages() -> Mapping[str, Page]:
    """All pages by their paths."""
    return {page.path: page for page in all_pages()}


def test_no_two_pages_have_one_place(pages: Mapping[str, Page]) -> None:
    assert len(list(all_pages())) == len(pages) > 90


def test_every_page_has_one_place_in_the_navigation(pages: Mapping[str, Page]) -> None:
    placed = [page.path for own in navigation(pages.values()).values() for page in own]
    assert sorted(placed) == sorted(pages)


def test_a_page_without_a_place_is_an_error(pages: Mapping[str, Page]) -> None:
    with pytest.raises(ValueError, match=r"nav.py has no place for stray.md"):
        navigation([*pages.values(), Page("stray.md", "Stray", "# Stray\n")])


def test_a_place_without_a_page_is_an_error(pages: Mapping[str, Page]) -> None:
    with pytest.raises(ValueError, match=r"nav.py names glossary.md in 'Understand'"):
        navigation([page for page in pages.values() if page.path != "glossary.md"])


def test_the_navigation_is_toml_with_the_titles() -> None:
    sections = {"": [Page("index.md", "Home", "")], "A": [Page("b.md", "`b` é", ""), Page("c.md", "c", "")]}
    assert tomllib.loads(as_toml(sections))["nav"] == [
        {"Home": "index.md"},
        {"A": [{"b é": "b.md"}, {"c": "c.md"}]},
    ]


# Links


def anchors(page: Page) -> set[str]:
    """The anchors of a page: its headings, those that it names, and those of names of Python."""
    text = BLOCK.sub("", page.text)
    made = set(re.findall(r"^#+ .*\{ #([\w-]+) \}$", text, flags=re.MULTILINE))
    for heading in re.findall(r"^#+ (.*?)(?: \{.*\})?$", text, flags=re.MULTILINE):
        words = re.sub(r"[`*\\]|\[|\]\([^)]*\)", "", heading)
        ascii_only = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
        made.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower()))
    return made | set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))


def test_every_link_inside_of_the_site_leads_to_a_page_and_its_anchor(pages: Mapping[str, Page]) -> None:
    files = {path.removeprefix("docs/") for path in ASSETS}
    wrong, count = [], 0
    for page in pages.values():
        for _, address, _ in LINK.findall(CODE.sub("", BLOCK.sub("", page.text))):
            path, _, anchor = address.partition("#")
            if ":" in path:
                continue
            count += 1
            target = normpath(PurePosixPath(page.path).parent / path) if path else page.path
            if target not in pages and target not in files:
                wrong.append(f"{page.path}: {address} leads nowhere")
            elif anchor and anchor not in anchors(pages[target]):
                wrong.append(f"{page.path}: {address} has no such anchor")
    assert wrong == [] and count > 300


@pytest.mark.parametrize(
    ("source", "address", "wanted"),
    [
        ("README.md", f"{HOME}docs/install.md#shell-completion", "install.md#shell-completion"),
        ("README.md", f"{HOME}docs/record.schema.json", "record.schema.json"),
        ("README.md", f"{HOME}CHANGELOG.md", "changelog.md"),
        ("README.md", f"{HOME}LICENSE", f"{HOME}LICENSE"),
        ("README.md", "https://example.org/docs/install.md", "https://example.org/docs/install.md"),
        ("docs/findings/newcomers.md", "../findings.md", "../findings.md"),
        ("docs/data.md", "../plugins/smc-eval-lm/README.md#x", "plugins/smc-eval-lm.md#x"),
        ("docs/your-model.md", "../smc_eval/cli/verbs.py", "verbs.md"),
        ("docs/parts.md", "../tests/conftest.py", f"{HOME}tests/conftest.py"),
        ("CONTRIBUTING.md", "docs/data.md", "data.md"),
        ("plugins/smc-eval-lm/README.md", "../../docs/data.md", "../data.md"),
        ("docs/install.md", "#citation", "#citation"),
    ],
)
def test_a_link_of_the_repository_is_a_link_of_the_site(source: str, address: str, wanted: str) -> None:
    assert relinked(f"see [`it`]({address}).", source, sources()) == f"see [`it`]({wanted})."


# Cards


@pytest.mark.parametrize("name", METHODS)
def test_the_page_of_a_method_has_what_its_card_options_and_plan_say(
    name: str, pages: Mapping[str, Page]
) -> None:
    page, kind = pages[f"methods/{name}.md"], METHODS[name]
    assert page.text.startswith(f"# {name}\n")
    for text in (kind.card.source, kind.card.criterion, kind.card.equals):
        assert plain(text) in page.text
    assert all(f"| `{option}` |" in page.text for option in kind.model_fields)
    assert "## Plan at" in page.text
    assert kind.card.when in {"none", "custom"} or "| cost | " in page.text
    assert re.search(r"^smc-eval .*--method " + name, page.text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", TASKS)
def test_the_page_of_a_task_has_what_its_card_options_and_recipe_say(
    name: str, pages: Mapping[str, Page]
) -> None:
    page, kind = pages[f"tasks/{name.replace('/', '-')}.md"], TASKS[name]
    assert page.text.startswith(f"# {name}\n")
    assert plain(kind.card.source) in page.text and plain(kind.card.licence) in page.text
    own = kind.model_fields.keys() - smc_eval.Task.model_fields.keys()
    assert all(f"| `{option}` |" in page.text for option in own)
    assert "protocol `sound`" in page.text and "protocol `paper`" in page.text
    assert f"[`{name}`](tasks/{name.replace('/', '-')}.md)" in pages["tasks.md"].text


def test_the_page_of_a_method_by_hand(pages: Mapping[str, Page]) -> None:
    text = pages["methods/lth.md"].text
    assert "| cost | 9 trainings |" in text
    assert "| `share` | number | `0.2` | Share of the remaining weights that each round prunes. |" in text
    assert "2. prune by magnitude to 0.2\n" in text
    # csqa of the paper's figure: 76.0 at 0.2 and 73.9 at 0.36; no dense net is lth
    assert "| `csqa` | accuracy (%) | 76.0 | 73.9 | 69.7 |" in text
    assert (
        "--protocol paper" not in text
        and "Under `--protocol paper`: `batches=1" in pages["methods/snip.md"].text
    )


def test_the_page_of_a_task_by_hand(pages: Mapping[str, Page]) -> None:
    text = pages["tasks/csqa.md"].text
    assert "| metric | accuracy (%); a random guess scores 20 |" in text
    assert "| steps of a training, protocol `sound` | 3,000 |" in text
    assert "accuracy (%) of `roberta-large`:\n\n| method | dense | 0.2 |" in text
    assert "| `dense` | 77.4 |" in text and "| `lth` |  | 76.0 |" in text


def test_a_doubtful_published_number_stands_in_brackets_with_its_reason(pages: Mapping[str, Page]) -> None:
    text = pages["tasks/translation-2-to-2.md"].text
    assert re.search(r"\(-?\d+\.\d\)<sup>1</sup>", text)
    assert re.search(r"^1\. \w.*BLEU", text, flags=re.MULTILINE)


def test_the_columns_of_the_table_of_methods_are_found_for_all_methods() -> None:
    assert measured_columns().keys() == METHODS.keys()
    assert measured_columns()["synflow"]["cost"] == "1 training + 100 passes"


# Flags, names, keys, scripts


def test_every_flag_of_every_verb_stands_on_the_page_of_verbs(pages: Mapping[str, Page]) -> None:
    sections = re.split(r"^#+ smc-eval ", pages["verbs.md"].text, flags=re.MULTILINE)
    own = {section.partition("\n")[0]: section for section in sections[1:]}
    verbs = {name: verb_command(name) for name in VERBS}
    verbs |= {f"data {name}": verb for name, verb in verbs.pop("data").commands.items()}
    for words, verb in verbs.items():
        for parameter in verb.params:
            shown = [parameter.metavar] if parameter.param_type_name == "argument" else parameter.opts
            section = own[words].replace(r"\|", "|")
            assert all(word in section for word in shown if word != "--help"), words
    assert len(own) == len(VERBS) + 3  # three verbs of `data`


def test_every_public_name_stands_once_in_the_reference(pages: Mapping[str, Page]) -> None:
    names = [
        name
        for path, page in pages.items()
        if path.startswith("python-reference/")
        for name in re.findall(r"^::: smc_eval\.(\w+)$", page.text, flags=re.MULTILINE)
    ]
    assert sorted(names) == sorted(smc_eval.__all__)


def test_the_test_kit_stands_in_the_reference_contracts_first(pages: Mapping[str, Page]) -> None:
    text = pages["python-reference/testing.md"].text
    names = re.findall(r"^::: smc_eval\.testing\.(\w+)$", text, flags=re.MULTILINE)
    assert names == kit_names() and sorted(names) == sorted(testing.__all__)
    assert names[:5] == sorted(name for name in names if name.endswith("Contract"))


def test_every_key_of_a_record_has_a_row(pages: Mapping[str, Page], root: Path) -> None:
    schema = json.loads((root / "docs" / "record.schema.json").read_text(encoding="utf-8"))
    text = pages["record-schema.md"].text
    for name, node in {"": schema, **schema["$defs"]}.items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0] if name else text
        assert all(f"| `{key}` |" in section for key in node["properties"]), name
    assert re.findall(r"^\| `(\w+)` \| [^|]* \| +\|$", text, flags=re.MULTILINE) == []  # each has a meaning


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"type": "string"}, "text"),
        ({"type": "integer", "minimum": 0, "maximum": 10**30}, "whole number ≥ 0"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "number ≥ 0, ≤ 1"),
        ({"anyOf": [{"$ref": "#/$defs/Cost"}, {"type": "null"}]}, "[Cost](#cost) or null"),
        ({"enum": ["ok", "failed"]}, '`"ok"` or `"failed"`'),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of number"),
        ({"type": "object", "maxProperties": 0}, "an empty object"),
    ],
)
def test_a_type_of_the_schema_in_words(node: dict[str, object], words: str) -> None:
    assert type_words(node) == words


def test_every_script_of_findings_stands_on_its_page(pages: Mapping[str, Page]) -> None:
    scripts = {path.stem for path in FOLDER.glob("*.sh")}
    assert {one.name for one in findings()} == scripts and len(scripts) >= 4
    text = pages["findings/outside.md"].text
    assert all(f"{{ #{name} }}" in text and f"findings/{name}.sh`" in text for name in scripts)
    first = next(one for one in findings() if one.name == "mra-without-its-kernel")
    assert (first.date, first.packages) == ("2026-11-29", "torch==2.13.0 transformers==5.23.0")
    assert all(re.fullmatch(r"\S+==\S+", word) for one in findings() for word in one.packages.split())


@pytest.mark.parametrize("lost", ["# 2026-11-29;", "# Whether", '"$folder/venv/bin/pip"'])
def test_a_script_without_claim_date_or_versions_is_an_error(lost: str, tmp_path: Path) -> None:
    text = (FOLDER / "esm-if1-origin.sh").read_text(encoding="utf-8")
    assert lost in text
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith(lost)]
    (tmp_path / "poor.sh").write_text("".join(kept), encoding="utf-8")
    with pytest.raises(ValueError, match=r"poor.sh needs a comment"):
        finding(tmp_path / "poor.sh")


def test_the_glossary_has_every_word_of_this_suite(pages: Mapping[str, Page]) -> None:
    text = pages["glossary.md"].text
    entries = dict(re.findall(r"^## (\w+)\n\n(.+)$", text, flags=re.MULTILINE))
    assert sorted(entries) == WORDS
    assert all(1 <= len(re.findall(r"[.:](?: |$)", meaning)) <= 4 for meaning in entries.values())


# Markdown


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("|w| * <b> [x] & y", r"&#124;w&#124; \* &lt;b&gt; \[x\] &amp; y"),
        ("`a*b` and a*b", r"`a*b` and a\*b"),
        ("arXiv:1803.03635, late", "[arXiv:1803.03635](https://arxiv.org/abs/1803.03635), late"),
        ("at https://x.org/a_b.", "at [https://x.org/a_b](https://x.org/a_b)."),
    ],
)
def test_ordinary_text_as_markdown(text: str, markdown: str) -> None:
    assert plain(text) == markdown


def test_indented_lines_of_a_docstring_are_code() -> None:
    assert paragraphs("a*b:\n\n    a * b\n\nend") == "a\\*b:\n\n    a * b\n\nend"


def test_the_choices_of_an_option_are_words_that_users_type(pages: Mapping[str, Page]) -> None:
    assert "| `rewind` | `weights` or `rate` | `weights` |" in pages["methods/lth.md"].text
    assert "| `beam` | whole number | `5` |" in pages["tasks/translation-2-to-2.md"].text
    assert "| `dropout` | number or none | `none` |" in pages["tasks/translation-2-to-2.md"].text


def test_a_bar_in_code_of_a_table_has_a_backslash_for_github_alone() -> None:
    assert without_escaped_bars("| `a\\|b` | c \\| d |\n`a\\|b`") == "| `a|b` | c \\| d |\n`a\\|b`"


def test_a_table_has_numbers_on_the_right() -> None:
    assert table(("a", "b"), [("x", "1")], "lr").splitlines() == ["| a | b |", "| --- | --: |", "| x | 1 |"]


# Pictures and files


def test_a_picture_has_the_command_that_makes_it_above() -> None:
    text = '```sh\nsmc-eval report DIR\n```\n\n<!-- picture: terminal.svg "A table" -->\n'
    assert list(marks_of(text)) == [Marked("smc-eval report DIR", "picture", "terminal.svg", "A table")]
    assert list(marks_of(text.replace("```\n\n", "```\n\nwords\n\n"))) == []


def test_every_comment_that_asks_for_a_picture_is_understood(pages: Mapping[str, Page]) -> None:
    for page in pages.values():
        asked = re.findall("^<!-- (?:picture|file):", page.text, flags=re.MULTILINE)
        assert len(asked) == len(list(marks_of(page.text))), page.path
    assert len(list(marks_of(pages["first-table.md"].text))) >= 3


def test_the_picture_of_a_terminal_loads_nothing_and_shows_the_text() -> None:
    picture = terminal_svg("smc-eval list", "\x1b[31mred\x1b[0m plain\n")
    assert "@font-face" not in picture and "red" in picture and "smc-eval" in picture
    without_comments = re.sub("<!--.*?-->", "", picture, flags=re.DOTALL)
    assert set(re.findall(r"https?://[^\"' ]+", without_comments)) == {"http://www.w3.org/2000/svg"}


def test_a_command_that_does_not_write_its_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_run", lambda *_: "")
    with pytest.raises(FileNotFoundError, match=r"wrote 0 files like a-\*.svg, 1 wanted"):
        made_file(Marked("smc-eval list", "picture", "a-*.svg", "x"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_what_the_command_prints(tmp_path: Path) -> None:
    picture = made_file(Marked("smc-eval list trackers", "picture", "terminal.svg", "x"), tmp_path)
    assert picture.name == "smc-eval-list-trackers.svg" and "tensorboard" in picture.read_text(
        encoding="utf-8"
    )
    assert [path.name for path in tmp_path.iterdir()] == [picture.name]


def test_the_folder_of_the_site_has_all_that_its_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: Mapping[str, Page]
) -> None:
    def shown(text: str, page: str, folder: Path) -> str:
        return text

    monkeypatch.setattr("smc_eval_docs.site.with_pictures", shown)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "old.md").write_text("old", encoding="utf-8")
    assert write_site(tmp_path / "site") == len(pages)
    settings = tomllib.loads((tmp_path / "site" / "zensical.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"[\w/-]+\.md", json.dumps(settings["nav"]))
    assert sorted(named) == sorted(pages)
    assert all((tmp_path / "site" / "docs" / path).is_file() for path in [*named, *settings["extra_css"]])
    assert (tmp_path / "site" / settings["theme"]["custom_dir"] / "main.html").is_file()
    assert not (tmp_path / "site" / "old.md").exists() and "repo_url" not in settings
