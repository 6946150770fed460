"""Shell completion: what bash, zsh and fish are offered, and that it loads no tensors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.cli.bash_words import rejoin_words
from smc_eval.cli.completion import FLAGS
from smc_eval.experiment.config import keys

Offered = Callable[..., list[str]]

EMPTY_PLUGIN = "from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks():\n    return []\n"
HEAVY = ("accelerate", "datasets", "scipy", "torch", "transformers")


@pytest.fixture
def offered(invoke, monkeypatch: pytest.MonkeyPatch) -> Offered:
    """What bash is offered for the last of these words, split as bash splits them."""

    def complete(*words: str) -> list[str]:
        environ = {
            "_SMC_EVAL_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(["smc-eval", *words]),
            "COMP_CWORD": str(len(words)),
        }
        rejoin_words(environ)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        ended = CliRunner().invoke(app, [], prog_name="smc-eval")
        assert ended.exit_code == 0 and ended.stderr == ""
        return ended.stdout.split()

    return complete


def test_verbs_are_offered(offered: Offered) -> None:
    assert offered("ver") == ["verify-sparsity"]
    assert {"run", "plan", "new", "doctor", "data"} <= set(offered(""))
    assert offered("data", "") == ["list", "verify", "fetch"]


def test_flags_are_offered_with_and_without_a_verb(offered: Offered) -> None:
    assert offered("--me") == offered("run", "--me") == ["--method"]
    assert offered("report", "--cur") == ["--curves"]
    assert set(offered("--")) >= {f"--{key}" for key in keys() if key != "dense"} | {"--version", "--help"}


@pytest.mark.parametrize("before", [(), ("run",), ("plan",), ("--model", "tiny"), ("--quiet",)])
def test_methods_are_offered(offered: Offered, before: tuple[str, ...]) -> None:
    assert offered(*before, "--method", "omp-") == ["omp-after", "omp-before", "omp-rigl"]
    assert {"lth", "wanda", "all"} <= set(offered(*before, "--method", ""))


def test_tasks_and_their_groups_are_offered(offered: Offered) -> None:
    assert offered("--tasks", "ter") == ["terms/gts", "terms"]
    assert offered("--tasks", "m") == ["maths"]
    assert offered("data", "list", "su") == ["sums/gts", "sums"]


def test_a_list_goes_on_after_its_comma(offered: Offered) -> None:
    assert offered("--method", "lth,omp-after,wa") == ["lth,omp-after,wanda"]
    assert offered("--ablate", "shuffle,r") == ["shuffle,random", "shuffle,reinit"]
    assert "shuffle,shuffle" not in offered("--ablate", "shuffle,")


def test_options_are_offered_with_their_defaults(offered: Offered) -> None:
    assert offered("--method", "lth", ":", "sh") == ["share=0.2"]
    assert offered("--method", "=", "lth", ":", "sh") == ["share=0.2"]
    assert offered("--method", "omp-after,lth", ":", "") == offered("--method", "lth", ":")
    assert "share=0.2" in offered("--method", "lth", ":")
    assert offered("--method", "no-such-method", ":", "") == []
    assert offered("--recipe", "lr", "=", "1e-3,batch") == ["1e-3,batch_size=8"]


def test_flags_after_an_option_are_offered(offered: Offered) -> None:
    assert offered("--method", "lth", ":", "share", "=", "0.3", "--spa") == ["--sparsity"]


def test_closed_choices_are_offered(offered: Offered) -> None:
    assert offered("--protocol", "") == ["sound", "paper"]
    assert offered("--format", "la") == ["latex"]
    assert offered("--grid", "") == ["smc-bench"]
    assert offered("--model", "t") == ["tiny"]
    assert offered("new", "") == ["method", "task", "updater"]
    assert offered("list", "t") == ["tasks", "trackers"]
    assert offered("show", "gmp-") == ["gmp-tuned"]
    assert offered("compare", "omp-b") == offered("compare", "lth", "omp-b") == ["omp-before"]


def test_files_are_left_to_the_shell(offered: Offered) -> None:
    assert offered("report", "") == offered("--output", "") == offered("--data-dir", "./") == []


def test_every_completion_belongs_to_a_flag() -> None:
    assert FLAGS.keys() <= keys().keys()


def test_what_a_plugin_prints_is_not_offered(offered: Offered, install) -> None:
    install(
        "loud", "print('loud')\nfrom smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks(): return []\n"
    )
    assert offered("--method", "lt") == ["lth"]


def test_a_broken_plugin_hides_only_its_own_names(offered: Offered, install) -> None:
    install("torn", "raise RuntimeError('torn')\n")
    assert offered("--method", "lt") == ["lth"]


# The whole way, as shells go it


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, **more}


CODE = (
    "import sys\nfrom smc_eval.cli import main\n"
    "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
    f"sys.stderr.write(' '.join(sorted(set({HEAVY}) & sys.modules.keys())))"
)


@pytest.mark.parametrize(
    ("shell", "shown"),
    [("zsh", "_arguments '*: :((\"lth:share=0.2\"))'"), ("fish", "lth:share=0.2"), ("bash", "share=0.2")],
)
def test_each_shell_is_answered_without_heavy_packages(shell: str, shown: str) -> None:
    words = environment(
        _SMC_EVAL_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="smc-eval --method lth:sh",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        COMP_WORDS="smc-eval\n--method\nlth\n:\nsh",
        COMP_CWORD="4",
    )
    ran = subprocess.run([sys.executable, "-c", CODE], env=words, capture_output=True, text=True, check=True)
    assert ran.stdout.strip().replace("\\\\:", ":") == shown
    assert ran.stderr == ""


@pytest.mark.skipif(not shutil.which("bash"), reason="this machine has no bash")
def test_bash_installs_and_uses_it(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "smc-eval"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from smc_eval.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    script = (
        "smc-eval --install-completion >/dev/null\n. ~/.bashrc\n"
        "COMP_WORDS=(smc-eval --method lth : sh) COMP_CWORD=4\n"
        '_smc_eval_completion smc-eval\necho "${COMPREPLY[@]}"\ncomplete -p smc-eval\n'
    )
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment(HOME=str(tmp_path), PATH=path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == "share=0.2\ncomplete -o default -F _smc_eval_completion smc-eval\n", ran.stderr
