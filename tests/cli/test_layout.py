"""Tables and paragraphs at the width of a terminal."""

import pytest
from rich.cells import cell_len

from bamsearch.cli.layout import paragraph, table_text

NAMES = ["layer1", "x" * 1000, "   ", "שלום עולם", "名前" * 40, "👩‍👩‍👧 " * 30, "\x1b[31m"]
HEADER = ["site", "feature map", "r", "d", "+ params"]
ROWS = [[name, "256×56×56", "16", "4", "17,747"] for name in NAMES]


@pytest.mark.parametrize("width", [60, 100])
def test_no_line_is_wider_than_the_terminal_and_numbers_stay_whole(width):
    text = table_text(HEADER, ROWS, "lrrrr", width=width)
    lines = text.split("\n")
    assert max(map(cell_len, lines)) <= width
    assert text.count("17,747") == text.count("256×56×56") == len(NAMES)
    assert len(lines) < 60
    assert "\x1b" not in text


def test_a_file_gets_every_letter():
    lines = table_text(HEADER, ROWS, "lrrrr").split("\n")
    assert len(lines) == 1 + len(NAMES)
    assert "x" * 1000 in lines[2]
    assert "␣␣␣" in lines[3]


def test_a_cell_of_very_many_lines_loses_its_middle():
    (line, *more) = table_text([""], [["word " * 100]], "l", indent=0, width=10).split("\n")
    assert (line, len(more)) == ("word word", 11)
    assert "…" in more


def test_columns_come_closer_before_words_are_broken():
    rows = [["bottleneck", "12345678", "12345678"]]
    assert table_text(["", "", ""], rows, "lrr", indent=0, width=29) == (
        "bottleneck 12345678 12345678"
    )


@pytest.mark.parametrize("width", [40, 60])
def test_a_paragraph_continues_below_its_text(width):
    text = "EVIDENCE  " + "none: nothing was trained; " * 6
    first, *more = paragraph(text.rstrip(), width).split("\n")
    assert first.startswith("EVIDENCE  none")
    assert all(line.startswith(" " * 10 + "n") or line[10] != " " for line in more)
    assert all(line[:10] == " " * 10 for line in more)
    assert max(map(len, [first, *more])) <= width
    assert " ".join([first, *(line.strip() for line in more)]) == text.rstrip()


def test_a_short_line_and_a_file_are_left_alone():
    assert paragraph("  a  b", 60) == "  a  b"
    assert paragraph("word " * 100, None) == "word " * 100
