"""The command line, thin: what to do is decided elsewhere."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from learnscope.cli import laboratory, scope
from learnscope.errors import LearnscopeError

app = typer.Typer(
    help="What a neural network learns, and when it learns it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Start with [bold]learnscope demo[/bold] or [bold]learnscope list[/bold].",
)
app.add_typer(scope.app)
app.add_typer(laboratory.app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"learnscope {version('learnscope')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; an error that Learnscope explains is printed as one sentence, with exit status 1."""
    try:
        app()
    except LearnscopeError as error:
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text("Error: ", style="bold red") + Text(str(error)), soft_wrap=True)
        sys.exit(1)
