"""The Mutator: random values, and random changes of text, bytes and JSON, all from one seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

TEXTS = (
    "",
    " ",
    ",",
    ":",
    "=",
    "a",
    "a=b",
    "none",
    "nan",
    "true",
    "all",
    "-",
    "--",
    "../..",
    "/",
    "~",
    "~nobody-of-this-name",
    "/dev/null",
    "/dev/zero",
    "\0",
    "a\0b",
    "\x1b[2J",
    "a\nb",
    "a\rb",
    "\u202e",
    "\u2028",
    "é",
    "🙂",
    "%s%n",
    "{}",
    "=1+1",
    "re:(",
    "re:(?P<a>",
    "re:.*",
    "*",
    "[",
    "[" * 50,
    "[" * 20_000,
    "a" * 5000,
    "pkg:",
    "pkg:os",
    "pkg:..",
    "\udcff",
    "\u0660.\u0665",
    "0x10",
    "1_0",
)
NUMBERS = (
    "0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "2:4",
    "1:4",
    "4:2",
    "0:0",
    "1:" + "9" * 30,
    "0.9999999999",
    "0.9999999999999999",
    "1e-320",
    "1e308",
    "1e400",
    "-1e400",
    "inf",
    "nan",
    "9" * 30,
    "9" * 5000,
    "0." + "9" * 5000,
    "1e",
    "1,2",
    "0,0",
    "5,",
    ",5",
    "3.5",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    10**30,
    10**400,
    0.5,
    -0.0,
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    "",
    "a",
    "\0",
    "\x1b[2J",
    "\ud800",
    "0",
    [],
    {},
    [None],
    [[]],
    {"a": 1},
    [1, "a", None],
)


class Mutator(random.Random):
    """Random choices of one case. Equal seeds and numbers give equal cases."""

    def __init__(self, seed: int, number: int) -> None:
        super().__init__(f"{seed}-{number}")

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.random() < share

    def word(self) -> str:
        """A text that is seldom a good value of a flag."""
        kind = self.random()
        if kind < 0.45:
            return self.choice(TEXTS)
        if kind < 0.9:
            return self.choice(NUMBERS)
        return "".join(
            chr(self.choice((self.randrange(1, 127), self.randrange(1, 0xD800)))) for _ in range(9)
        )

    def value(self) -> Any:
        """A JSON value, perhaps one that standard JSON lacks."""
        return self.choice(VALUES)

    def text(self, text: str) -> str:
        """A text with one change."""
        place = self.randrange(len(text) + 1)
        match self.randrange(5):
            case 0:
                return text[:place] + self.word() + text[place:]
            case 1:
                return text[:place]
            case 2:
                return text[:place] + text[place + 1 :]
            case 3:
                return text + text[place:]
        return text[:place] + self.choice(":,=[]{}\"'\\\n\t -.0e") + text[place + 1 :]

    def bytes(self, content: bytes) -> bytes:
        """Bytes with one change: never the same as before."""
        place = self.randrange(max(1, len(content)))
        match self.randrange(6):
            case 0:
                changed = content[:place]
            case 1:
                changed = content[:place] + self.randbytes(self.randrange(1, 9)) + content[place:]
            case 2:
                changed = content[:place] + content[place + self.randrange(1, 9) :]
            case 3:
                changed = self.choice((b"", b"[]", b"null", b"{", b"\xff\xfe", b"\0" * 100, b"[" * 50_000))
            case 4:
                changed = content + content[place:]
            case _:
                flipped = bytes([content[place] ^ (1 << self.randrange(8))]) if content else b"a"
                changed = content[:place] + flipped + content[place + 1 :]
        return changed if changed != content else content + b"\n\0"

    def json(self, plain: Any) -> Any:
        """A copy of a JSON value with one part changed, removed or added."""
        copy = json.loads(json.dumps(plain))
        parts = list(_parts(copy))
        if not parts:
            return self.value()
        place, key = self.choice(parts)
        match self.randrange(5):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                place[self.choice(("", "a", "\0", "seal", "digest"))] = self.value()
            case 2 if type(place[key]) in {int, float}:
                place[key] = self.choice((place[key] + 1, -place[key], place[key] / 2, place[key] * 1e300))
            case _:
                place[key] = self.value()
        return copy

    def some(self, items: Sequence[Item], most: int) -> list[Item]:
        """Between one and `most` of some items."""
        return self.sample(list(items), min(len(items), self.randint(1, most)))


def _parts(plain: Any) -> list[tuple[Any, Any]]:
    """Every place in nested JSON: its list or dict, and its index or key."""
    match plain:
        case dict():
            items: list[tuple[Any, Any]] = list(plain.items())
        case list():
            items = list(enumerate(plain))
        case _:
            return []
    return [pair for key, value in items for pair in [(plain, key), *_parts(value)]]
