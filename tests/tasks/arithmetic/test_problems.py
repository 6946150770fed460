"""Word problems in the official CSV layout, and in broken files."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import DataError
from smc_eval.tasks.arithmetic.problems import Problem, read_problems
from smc_eval.tasks.folder import find_file

HEADER = "Question,Numbers,Equation,Answer,group_nums"
GOOD = 'Ann has number0 eggs and eats number1 .,8.0 2.0,- number0 number1,99,"[1, 2, 3]"'


def write_csv(folder, *rows, header=HEADER):
    path = folder / "dev.csv"
    path.write_bytes("\n".join([header, *rows]).encode())
    return path


def test_a_row_is_read_as_a_problem(tmp_path):
    question = "If number1 of number0 pens , number1 break , 2d ones stay ?"
    row = f'"{question}",8.0 -2.5,* + number0 number1 100.0,,"[0, 1, 2]"'
    assert read_problems(write_csv(tmp_path, row)) == [
        Problem(
            words=("If", "NUM", "of", "NUM", "pens", ",", "NUM", "break", ",", "2d", "ones", "stay", "?"),
            number_at=(3, 1),
            numbers=(8.0, -2.5),
            equation=("*", "+", "N0", "N1", "100.0"),
            groups=(0, 1, 2),
        )
    ]


def test_a_number_with_a_suffix_is_recognised(tmp_path):
    (problem,) = read_problems(write_csv(tmp_path, 'the number0th of number1% ?,8 2,/ number0 number1,,"[]"'))
    assert problem.words == ("the", "NUM", "of", "NUM", "?")
    assert problem.number_at == (1, 3)
    assert problem.groups == ()


def test_groups_past_the_end_are_cut_there(tmp_path):
    (problem,) = read_problems(write_csv(tmp_path, 'has number0 now ?,8,* number0 25.0,,"[2, 3, 4, 5, 6]"'))
    assert problem.groups == (2, 3)


def test_the_column_answer_is_not_needed(tmp_path):
    path = write_csv(tmp_path, 'number0 ?,8,number0,"[0]"', header="Question,Numbers,Equation,group_nums")
    assert read_problems(path)[0].equation == ("N0",)


def test_compression_byte_order_mark_dos_line_ends_and_blank_lines_make_no_difference(tmp_path):
    plain = read_problems(write_csv(tmp_path, GOOD, GOOD))
    packed = tmp_path / "train.csv.gz"
    packed.write_bytes(gzip.compress(f"\ufeff{HEADER}\r\n{GOOD}\r\n\r\n{GOOD}\r\n\r\n".encode()))
    assert read_problems(packed) == plain


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('a number0 b number1 ?,8.0 2.0,- number0,1,"[1]"', "1 operand missing at the end"),
        ('a number0 b number1 ?,8.0 2.0,,1,"[1]"', "1 operand missing at the end"),
        ('a number0 b number1 ?,8.0 2.0,number0 number1,1,"[1]"', "'N1' follows"),
        ('a number0 b number1 ?,8.0 2.0,^ number0 number1,1,"[1]"', "'^' is neither an operator"),
        ('a number0 b number1 ?,8.0 2.0,- number0 x,1,"[1]"', "'x' is neither an operator"),
        ('a number0 b number1 ?,8.0 2.0,- N0 N1,1,"[1]"', "a number is written number0"),
        ('a number0 b number1 ?,8.0 2.0,- number0 number2,1,"[1]"', "number2, but Numbers holds only 2"),
        ('a number0 b number2 ?,8.0 2.0,- number0 number1,1,"[1]"', "number2, which has no value in Numbers"),
        ('a number0 b number1 ?,8.0,- number0 100.0,1,"[1]"', "number1, which has no value in Numbers"),
        ('a number0 b ?,8.0 2.0,- number0 number1,1,"[1]"', "holds 2 values, Question has 1 numbers"),
        ('a b ?,8.0,number0,1,"[1]"', "no number0 in Question"),
        (',,number0,1,"[1]"', "no number0 in Question"),
        ('a number0 b number1 ?,8.0 two,- number0 number1,1,"[1]"', "'two' in Numbers is not a number"),
        ('a number0 b number1 ?,8.0 nan,- number0 number1,1,"[1]"', "'nan' in Numbers is not a number"),
        ('a number0 b number1 ?,8.0 2.0,- number0 number1,1,"[1, x]"', "is not a list of word indices"),
        ('a number0 b number1 ?,8.0 2.0,- number0 number1,1,"[-1]"', "is not a list of word indices"),
        ('a number0 b number1 ?,8.0 2.0,- number0 number1,1,"[1', "no CSV"),
        ('a number0 b number1 ?,8.0 2.0,- number0 number1,1,"[8]"', "holds 8, but Question has only 5 words"),
        ("a number0 b number1 ?,8.0 2.0,- number0 number1,1", "4 fields where the header has 5"),
        ('a number0 b number1 ?,8.0 2.0,- number0 number1,1,"[1]",', "6 fields where the header has 5"),
    ],
)  # fmt: skip
def test_an_invalid_row_is_reported_with_file_and_line(tmp_path, row, words):
    path = write_csv(tmp_path, GOOD, row)
    with pytest.raises(DataError) as caught:
        read_problems(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3: ")
    assert words in message
    assert message.count("\n") <= 2


def test_the_line_is_that_of_the_file_if_a_row_spans_several_lines(tmp_path):
    spanning = GOOD.replace("Ann has", '"Ann\nhas').replace(" .,", ' .",')
    path = write_csv(tmp_path, spanning, "", "bad")
    with pytest.raises(DataError, match="line 5: 1 fields"):
        read_problems(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty; wanted a CSV with the columns Question, Numbers, Equation, group_nums"),
        (HEADER, "the file has no problems below the header"),
        (f"{HEADER}\n\n", "the file has no problems below the header"),
        ("Question,Answer\nx,1", "line 1: no column Numbers, Equation, group_nums; found 'Question, Answer'"),
        (f"{HEADER},Numbers\n{GOOD},8", "line 1: column Numbers occurs more than once"),
        ('{"question": "x"}\n', "line 1: no column Question, Numbers"),
        ("Question\tNumbers\tEquation\tgroup_nums\nx", "no column"),
    ],
)
def test_a_file_that_is_not_a_table_of_problems_is_refused(tmp_path, content, words):
    path = tmp_path / "dev.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_problems(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def read(path):
    """The problems or the message of a DataError; any other exception fails the test."""
    try:
        return read_problems(path), ""
    except DataError as error:
        return [], str(error)


random_files = st.one_of(
    st.binary(max_size=80), st.text(max_size=80).map(lambda text: f"{HEADER}\n{text}".encode())
)


@given(content=random_files)
def test_any_bytes_give_problems_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "dev.csv"
    path.write_bytes(content)
    problems, message = read(path)
    assert problems or str(path) in message


@given(column=st.integers(0, 4), text=st.text(st.sampled_from('number0123456789+-*/.[], eN"'), max_size=20))
def test_any_field_gives_a_valid_problem_or_a_data_error(tmp_path_factory, column, text):
    fields = ["a number0 b number1 ?", "8.0 2.0", "- number0 number1", "6", '"[1]"']
    fields[column] = text
    path = write_csv(tmp_path_factory.mktemp("any"), ",".join(fields))
    problems, message = read(path)
    assert len(problems) == 1 or f"{path}, line 2: " in message
    for problem in problems:
        assert len(problem.number_at) == len(problem.numbers)
        assert all(problem.words[at] == "NUM" for at in problem.number_at)
        assert all(at < len(problem.words) for at in problem.groups)


@pytest.mark.parametrize(("fold", "leaked"), [(0, 128), (1, 110), (2, 112), (3, 118), (4, 114)])
def test_mawps_has_the_known_sizes_and_leaks(data_dir, fold, leaked):
    train, dev = (
        read_problems(find_file(data_dir, f"cv_mawps/fold{fold}/{part}.csv")) for part in ("train", "dev")
    )
    assert (len(train), len(dev)) == (1537, 384)
    questions = {problem.words for problem in train}
    assert sum(problem.words in questions for problem in dev) == leaked
    assert max(len(problem.numbers) for problem in train + dev) == 7


@pytest.mark.parametrize("name", [*(f"cv_asdiv-a/fold{fold}" for fold in range(5)), "mawps-asdiv-a_svamp"])
@pytest.mark.parametrize("part", ["train", "dev"])
def test_official_asdiv_and_svamp_files_are_read_completely(data_dir, name, part):
    for problem in read_problems(find_file(data_dir, f"{name}/{part}.csv")):
        assert [problem.words[at] for at in problem.number_at] == ["NUM"] * len(problem.numbers)
