import click
import pytest
from click.testing import CliRunner

from bamsearch.cli import options


@options.command("all", examples=["bamsearch all"])
@options.device
@options.dtype
@options.seed
@options.batch_size
@options.json
@options.output("A folder.")
@options.pass_console
def everything(console, **values):
    """Take every option."""
    console.note("seen")
    click.echo(repr(values))


def run(*args):
    return CliRunner().invoke(everything, list(args))


def test_defaults():
    assert run().stdout.strip() == repr(
        {
            "device": "auto",
            "dtype": "float32",
            "seed": 0,
            "batch_size": 1,
            "as_json": False,
            "output": None,
            "force": False,
            "dry_run": False,
        }
    )


def test_a_command_works_without_the_group():
    assert run("-q").stderr == ""
    assert run().stderr == "seen\n"
    assert "--device auto|cpu|cuda[:N]|mps" in run("-h").stdout


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:12", "mps"])
def test_devices(device):
    assert f"'device': '{device}'" in run("--device", device).stdout


@pytest.mark.parametrize(
    "args",
    [
        ("--device", "gpu"),
        ("--device", "cuda:"),
        ("--device", "cpu:0"),
        ("--dtype", "int8"),
        ("--seed", "-1"),
        ("--seed", str(2**32)),
        ("--batch-size", "0"),
        ("--batch-size", "1.5"),
    ],
)
def test_bad_values(args):
    result = run(*args)
    assert result.exit_code == 2
    assert args[0] in result.stderr
    assert args[1] in result.stderr


def test_completion_of_devices():
    parameter = next(item for item in everything.params if item.name == "device")
    result = parameter.type.shell_complete(click.Context(everything), parameter, "c")
    assert [item.value for item in result] == ["cpu", "cuda"]
