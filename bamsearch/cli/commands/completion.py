"""``bamsearch completion SHELL``: the completion script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from bamsearch.cli import options
from bamsearch.cli.console import Console

INSTALL = {
    "bash": "bamsearch completion bash > ~/.local/share/bash-completion/completions/bamsearch",
    "zsh": "echo 'eval \"$(bamsearch completion zsh)\"' >> ~/.zshrc",
    "fish": "bamsearch completion fish > ~/.config/fish/completions/bamsearch.fish",
}
"""Shell → command line that installs the completion."""


@options.command("completion", examples=list(INSTALL.values()))
@click.argument("shell", type=click.Choice(list(INSTALL)), metavar="SHELL")
@options.pass_console
@click.pass_context
def completion(ctx: click.Context, console: Console, shell: str) -> None:
    """Print the completion script for SHELL: bash, zsh or fish."""
    kind = get_completion_class(shell)
    if kind is None:  # only if click drops support for the shell
        raise click.UsageError(f"click does not support completion for {shell}", ctx)
    group = ctx.find_root().command
    console.print(kind(group, {}, "bamsearch", "_BAMSEARCH_COMPLETE").source())
    console.finish({"install": INSTALL[shell]})
