"""Text made safe for each output, and counts of any size."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamsearch.text import (
    LARGEST_COUNT,
    csv_cell,
    csv_file_text,
    csv_value,
    indented_json,
    is_utf8,
    json_count,
    number_text,
    printable,
    printable_lines,
    share_text,
    shortened_text,
    table_cell,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer1.0", "layer1.0"),
        ("", ""),
        ("名前 é ✓ 👩‍👩‍👧", "名前 é ✓ 👩‍👩‍👧"),
        ("שלום עולם", "שלום עולם"),
        ("nb\u00a0sp", "nb\u00a0sp"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("gnp.\u202eexe\u2066\u200f", r"gnp.\u202eexe\u2066\u200f"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud83d", r"\ud83d"),
        ("\u2028\u0085\ufeff", r"\u2028\x85\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("   ", "␣␣␣"),
    ],
)
def test_what_cannot_be_printed_is_shown_by_its_code(text, shown):
    assert printable(text) == shown


def test_lines_stay_lines_and_blanks_stay_blanks():
    assert printable_lines("a\n  \x1bb\r\n\n") == "a\n  \\x1bb\\r\n\n"


@given(st.text())
@settings(max_examples=300, derandomize=True, database=None)
def test_nothing_that_is_shown_controls_a_terminal(text):
    for shown in (printable(text), printable_lines(text).replace("\n", "")):
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
        assert not any("\u202a" <= character <= "\u202e" for character in shown)
        shown.encode()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@a", "\ta", "\ra", "'=1", "''=1", "\uff1d1", "-"]
)
def test_a_cell_that_a_spreadsheet_may_execute_is_quoted(text):
    assert csv_cell(text) == f"'{text}"
    assert csv_value(csv_cell(text)) == text


@pytest.mark.parametrize("value", [-1, -1.5, 0, None, True, 2**70, 1e-300])
def test_numbers_stay_numbers(value):
    assert csv_cell(value) is value


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=4))
@settings(max_examples=300, derandomize=True, database=None)
def test_csv_reads_back(rows):
    text = csv_file_text(("a", "b"), rows)
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [[csv_value(cell) for cell in row] for row in read[1:]] == rows
    text.encode()


def test_json_has_no_control_character_and_reads_back():
    value = {"a\x1b\x9b\n\u202e\udcff": ["名前", "\u2028", 2**70, "👩‍👧"]}
    text = indented_json(value)
    assert json.loads(text) == value
    assert printable_lines(text) == text
    assert "名前" in text
    assert "👩‍👧" in text


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        indented_json([float("nan")])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999_999_999, "999,999,999"),
        (10**9, "1.0e+09"),
        (17**33, "4.0e+40"),
        (10**300 - 1, "1.0e+300"),
        (10**300, "1.0e+300"),
        (12 * 10**300, "1.2e+301"),
        (17**251, "7.0e+308"),
        (10**400 - 1, "1.0e+400"),
        (996 * 10**398, "1.0e+401"),
        (10**4000, "more than 10^4000"),
    ],
)
def test_a_count_of_any_size(number, text):
    assert number_text(number) == text


def test_counts_for_json_and_their_shares():
    assert json_count(10**299) == 10**299
    assert json_count(17**251) == "7.0e+308"
    assert share_text(25, 125) == "20.0%"
    assert share_text(17**300, 17**301) == "5.9%"
    assert share_text(LARGEST_COUNT, LARGEST_COUNT) == share_text(2, 1) == "?"
    assert share_text(0, 0) == "0.0%"


def test_long_words_lose_their_middle():
    assert shortened_text("abcdefghij", 5) == "ab…ij"
    assert table_cell("x" * 90 + " r4") == "x" * 40 + "…" + "x" * 39 + " r4"
    assert table_cell("word " * 40) == "word " * 40


def test_which_names_are_utf8():
    assert is_utf8("名前")
    assert not is_utf8("\udcff")
