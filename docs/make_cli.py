"""Writes docs/cli.md, the reference of all commands, from their ``--help``: ``make docs``."""

from pathlib import Path

from click.testing import CliRunner

from bamsearch.cli.main import COMMANDS, cli

TARGET = Path(__file__).with_name("cli.md")

HEAD = """\
# Commands

Made from `--help` by `make docs`; change the help in `bamsearch/cli/`, not this file.
Every command has `-h/--help`, `-q/--quiet` and `-v/--verbose`. Data goes to stdout, everything else
to stderr. Exit codes: 0 done, 1 a bug, 2 input that cannot be used, 3 nothing to do here,
4 `verify --expect` was not met, 130 interrupted with Ctrl-C.
"""


def help_of(*command: str) -> str:
    """Output of ``bamsearch COMMAND --help`` into a pipe, for any terminal width."""
    return CliRunner().invoke(cli, [*command, "--help"], prog_name="bamsearch").stdout


def reference() -> str:
    """Text of docs/cli.md."""
    sections = [HEAD]
    for command in ([], *([name] for name in COMMANDS)):
        title = " ".join(["bamsearch", *command])
        sections.append(f"## {title}\n\n```text\n{help_of(*command)}```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"Written   {TARGET.relative_to(Path.cwd())}")
