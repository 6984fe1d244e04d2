"""Numbers that no machine counts to end in one line that names the option, and start nothing."""

import click
import pytest

from bamsearch.cli.main import COMMANDS, cli
from bamsearch.cli.parameter_types import CHANNELS, INPUT_SIZE, OVERRIDE, VALUE_RANGE
from bamsearch.errors import InvalidValueError
from bamsearch.space.budget import parse_budget

NET = "bamsearch.examples:resnet20"
HUGE = ("1" + "0" * 21, "-1" + "0" * 21, "1e308", "nan", "inf", "-inf", "9" * 5000, "1e999999")
CUSTOM = {
    INPUT_SIZE: "{}",
    OVERRIDE: "layer1:r={},d=2",
    CHANNELS: "{}",
    VALUE_RANGE: "{0}:{0}",
}
WORDS = {"attention": (NET, "a.png"), "search": (NET, "--score", "params"), "train": (NET,)}


def is_numeric(kind: click.ParamType) -> bool:
    if kind in CUSTOM:
        return True
    return isinstance(kind, (click.types.IntParamType, click.types.FloatParamType))


def options() -> list[tuple[str, click.Option]]:
    context = click.Context(cli)
    result = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        result += [(name, o) for o in command.params if isinstance(o, click.Option)]
    return result


NUMERIC = [(name, o.opts[-1], o.type) for name, o in options() if is_numeric(o.type)]
BUDGETS = [(name, o.opts[-1]) for name, o in options() if o.opts[-1].startswith("--budget")]


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


def test_all_are_there():
    assert len(NUMERIC) >= 50
    assert len(BUDGETS) == 2 * 4


@pytest.mark.parametrize(
    ("command", "option", "kind"), NUMERIC, ids=[f"{name}{option}" for name, option, _ in NUMERIC]
)
def test_a_number_out_of_range_names_its_option(bamsearch_cli, command, option, kind):
    form = CUSTOM.get(kind, "{}")
    for value in HUGE:
        text = form.format(value)
        result = bamsearch_cli(command, *WORDS.get(command, (NET,)), option, text)
        assert (result.exit_code, result.stdout) == (2, ""), (text, result.stderr)
        said = result.stderr
        assert said.count("\n") == 1, said
        assert f"'{option}'" in said or f"'{option}' / " in said or f"/ '{option}'" in said, said
        assert "unexpected" not in said
        if isinstance(kind, click.IntRange | click.FloatRange) and len(text) < 30:
            assert "x" in said or "is not a valid" in said


@pytest.mark.parametrize("option", [option for name, option in BUDGETS if name == "search"])
def test_a_budget_out_of_range(option):
    quantity = option.removeprefix("--budget-")
    for text in (*HUGE[1:], "+1e308%", "+inf%", f"+{'9' * 5000}%", "1e100"):
        with pytest.raises(InvalidValueError, match=f"invalid `budget_{quantity}` ") as failure:
            parse_budget(quantity, text, 1000)
        assert len(str(failure.value)) < 200
    assert parse_budget(quantity, HUGE[0], 1000).limit >= 10**21
