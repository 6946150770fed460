"""Output symbols and input words, counted and ordered."""

from __future__ import annotations

from smc_eval.tasks.arithmetic.problems import Problem, read_problems
from smc_eval.tasks.arithmetic.symbols import Symbols, Vocabulary, output_symbols, vocabulary
from smc_eval.tasks.folder import find_file


def problem(equation, words="NUM ?", numbers=1):
    return Problem(tuple(words.split()), (0,) * numbers, (8.0,) * numbers, tuple(equation.split()), ())


def test_symbols_are_operators_then_frequent_constants_then_copies_then_unk():
    train = [problem("* N0 100.0"), problem("- / N0 7.0 7.0"), *[problem("* 12.0 100.0")] * 3]
    test = [problem("+ 12.0 100.0", numbers=3), problem("12.0")]
    known = output_symbols(train, test)
    assert known == Symbols(operators=("*", "-", "/"), constants=("100.0", "12.0"), copies=3)
    assert [known.symbol(i) for i in range(len(known))] == [
        "*",
        "-",
        "/",
        "100.0",
        "12.0",
        "N0",
        "N1",
        "N2",
        "UNK",
    ]
    assert (known.num_start, known.copy_start) == (3, 5)


def test_symbols_and_indices_map_to_each_other_and_unknown_symbols_are_unk():
    known = Symbols(("+", "-"), ("3.0",), copies=2)
    assert [known.index(known.symbol(i)) for i in range(len(known))] == list(range(6))
    assert [known.index(unknown) for unknown in ("25.0", "3", "*", "N2", "UNK")] == [5] * 5


def test_a_constant_needs_five_uses_to_be_known():
    assert output_symbols([problem("* 2.0 2.0")] * 2, []).constants == ()
    assert output_symbols([problem("* 2.0 2.0")] * 2, [problem("2.0")]).constants == ("2.0",)


def test_words_are_in_order_of_appearance_and_those_with_a_digit_are_unk():
    train = [problem("N0", "NUM Pens and pens , 2d UNK ?")]
    test = [problem("N0", "mp3 and NUM more pens")]
    words = vocabulary(train, test)
    assert words == Vocabulary(("PAD", "NUM", "UNK", "Pens", "and", "pens", ",", "?", "more"))
    assert [words.index(word) for word in ("PAD", "NUM", "UNK", "Pens", "pens", "2d", "never")] == [
        0,
        1,
        2,
        3,
        5,
        2,
        2,
    ]
    assert len(words) == 9


def test_mawps_has_the_symbols_and_words_that_the_official_code_prints(data_dir):
    first = None
    for fold in range(5):
        parts = [
            read_problems(find_file(data_dir, f"cv_mawps/fold{fold}/{part}.csv")) for part in ("train", "dev")
        ]
        known = output_symbols(*parts)
        assert len(known) == 21
        assert sorted(known.operators) == ["*", "+", "-", "/"]
        assert known.copies == 7
        assert len(vocabulary(*parts)) == 2452
        first = first or known.constants
    assert first == ("0.5", "3.0", "100.0", "12.0", "0.01", "0.1", "1.0", "4.0", "7.0")
    assert known.constants == ("0.01", "12.0", "1.0", "100.0", "0.1", "0.5", "3.0", "4.0", "7.0")
