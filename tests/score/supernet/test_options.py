"""The options of a supernet as they are typed."""

import pytest

from bamsearch.errors import InvalidValueError
from bamsearch.score.supernet.options import SupernetOptions, make_options, parse_options


def test_each_is_read_as_what_it_is():
    texts = ["warmup=1", "paths=3", "sandwich=yes", "distil=0.5", "share=dilation"]
    texts += ["recalibration=8", "fine_tune=40", "fine_tune_lr=0.02"]
    assert parse_options(texts) == SupernetOptions(1, 3, True, 0.5, "dilation", 8, 40, 0.02)
    assert parse_options(["sandwich=no"]) == SupernetOptions(sandwich=False)
    assert parse_options([]) == make_options({}) == SupernetOptions()
    assert make_options({"paths": 3}) == SupernetOptions(paths=3)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["path=1"], "no option of a supernet is called 'path': did you mean paths?"),
        (["x"], "called 'x': there are warmup, paths"),
        (["paths"], "paths has no value: give paths=VALUE"),
        (["paths=1", "paths=2"], "paths is there twice: give it once"),
        (["paths=1.5"], "paths of '1.5': give an integer"),
        (["distil=much"], "distil of 'much': give a number"),
        (["distil=nan"], "distil of nan: give a number from 0 to 1"),
        (["sandwich=1"], "sandwich of '1': give yes or no"),
        (["share=all"], "share"),
        (["paths=-1"], "paths must be an integer in 0..1000000, not -1"),
        (["distil=0.5", "sandwich=no"], "distil needs the largest design as teacher"),
    ],
)
def test_what_is_wrong_is_named(texts, says):
    with pytest.raises(InvalidValueError, match=says.replace("?", r"\?")):
        parse_options(texts)


def test_unknown_names_are_refused_from_python_too():
    with pytest.raises(InvalidValueError, match="called 'path'"):
        make_options({"path": 1})
