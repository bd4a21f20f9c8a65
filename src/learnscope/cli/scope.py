"""Commands of the scope: the demo, and what a stored run shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnscope.findings import Finding

app = typer.Typer()

RunFolder = Annotated[Path, typer.Argument(help="Folder of a run, as given to store=.", show_default=False)]


@app.command(
    epilog="Examples: [bold]learnscope demo[/bold] · [bold]learnscope demo --data mnist --network mlp[/bold] · "
    "[bold]LEARNSCOPE_DATA=~/data learnscope demo --data mnist[/bold]"
)
def demo(
    data: Annotated[str, typer.Option(help="digits, mnist, fashion_mnist or cifar10.")] = "digits",
    network: Annotated[str, typer.Option(help="cnn, mlp or resnet.")] = "cnn",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/demo-DATA-NETWORK-SEED by default.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the order of the images.")] = 0,
) -> None:
    """Train a real network on real images under the scope, and write the report.

    A run that was interrupted (Ctrl-C) is taken up again by the same command; one that is finished is only drawn again.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from learnscope.demo.recipe import check_names
    from learnscope.demo.training import run

    check_names(data, network)  # before a bar is drawn
    console = Console()
    folder = store or Path("runs") / f"demo-{data}-{network}-{seed}"
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"Training {network} on {data}", total=None, loss=float("nan"))
        outcome = run(
            folder,
            data,
            network,
            seed,
            watch=lambda step, steps, loss: bar.update(task, completed=step, total=steps, loss=loss),
        )
        bar.update(task, completed=outcome.step, total=outcome.steps)
    if not outcome.finished:
        console.print(f"Stopped at step {outcome.step:,} of {outcome.steps:,}; the same command goes on from there.")
    _print_findings(outcome.record.findings())
    print_place(outcome.record.report())


@app.command(
    epilog="Examples: [bold]learnscope report runs/demo-digits-cnn-0[/bold] · "
    "[bold]learnscope report runs/marchenko-pastur/44136fa355b3[/bold]"
)
def report(
    run: Annotated[str, typer.Argument(help="Folder of a run, of the scope or of an experiment.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="File to write; report.html in the run's folder by default.")
    ] = None,
) -> None:
    """Draw the report of a run again from what is stored, finished or still going on."""
    from learnscope.laboratory.store import Folder

    if Folder(run).exists("settings.json"):
        from learnscope.laboratory import open_run

        print_place(open_run(run).report(output))
        return
    from learnscope.scope.record import open as open_record

    print_place(open_record(Path(run)).report(output))


@app.command(epilog="Example: [bold]learnscope findings runs/demo-digits-cnn-0[/bold]")
def findings(run: RunFolder) -> None:
    """Print what a run's record shows, in sentences."""
    from learnscope.scope.record import open as open_record

    _print_findings(open_record(run).findings())


def _print_findings(found: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not found:
        console.print("The record is too short for any finding.")
    for finding in found:
        mark = Text("! ", style="bold red") if finding.kind == "warning" else Text("• ", style="bold cyan")
        console.print(mark + Text(finding.sentence))


def print_place(path: str | Path) -> None:
    """Say where a report was written, and how to open it."""
    from rich.console import Console
    from rich.text import Text

    Console().print(Text("Report: ", style="bold") + Text(str(path)), soft_wrap=True)
    if "://" not in str(path):
        Console().print(Text("Open it in a browser: ") + Text(Path(path).resolve().as_uri()), soft_wrap=True)
