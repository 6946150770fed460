"""The words of bash when it asks for completions: joined again where bash has split them."""

from __future__ import annotations

from collections.abc import MutableMapping

INSTRUCTION = "_SMC_EVAL_COMPLETE"
"""The variable by which a shell asks for completions instead of a run."""

_BREAKS = (":", "=")
"""Signs at which bash begins a new word."""

TYPED = "_SMC_EVAL_TYPED"
"""The variable with the part of the current word that bash does not replace: it ends in `:` or `=`."""


def rejoin_words(environ: MutableMapping[str, str]) -> None:
    """Undo the words of bash, which splits `--method=lth:share=0.3` at each `=` and `:`.

    Completion then sees the flag and its value. What stands before the last break in the current word is kept
    aside: bash replaces only what follows it.
    """
    if environ.get(INSTRUCTION) != "complete_bash":
        return
    current = int(environ.get("COMP_CWORD", "0"))
    words = environ.get("COMP_WORDS", "").split("\n")
    words += [""] * (current + 1 - len(words))
    joined, glue = list[str](), False
    for word in words[: current + 1]:
        if word == "=" and joined and joined[-1].startswith("--"):
            joined.append("")  # `--flag=` ends the flag, and begins its value
            glue = True
        elif word in _BREAKS and joined:
            joined[-1] += word
            glue = True
        elif glue:
            joined[-1] += word
            glue = False
        else:
            joined.append(word)
    last = joined.pop() if joined else ""
    cut = max(last.rfind(sign) for sign in _BREAKS) + 1
    environ[TYPED] = last[:cut]
    environ["COMP_WORDS"] = "\n".join([*joined, last[cut:]])
    environ["COMP_CWORD"] = str(len(joined))
