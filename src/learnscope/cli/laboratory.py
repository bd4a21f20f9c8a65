"""Commands of the laboratory: the catalogue, runs, and verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from learnscope.laboratory import Judged, Run
    from learnscope.laboratory.sweep import Progress as SweepProgress
    from learnscope.laboratory.sweep import Watch

app = typer.Typer()

FAILED, INTERRUPTED = 1, 130
WIDTH = 140  # of tables in files and pipes
TRACEBACKS = 3  # printed; all of them are in the store
STYLES = {"reproduced": "green", "not reproduced": "bold red", "inconclusive": "yellow"}


def _complete_names(incomplete: str) -> list[str]:
    from learnscope.laboratory import names

    return [name for name in names() if name.startswith(incomplete)]


Name = Annotated[
    str,
    typer.Argument(
        help="An experiment of the catalogue, or the path of a file of your own.",
        autocompletion=_complete_names,
        show_default=False,
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(help="Experiments or claims; all by default.", autocompletion=_complete_names, show_default=False),
]
ScaleOption = Annotated[str, typer.Option(help="quick (seconds to minutes) or paper (the sizes of the original work).")]
SeedsOption = Annotated[
    int | None, typer.Option(min=1, help="Number of seeds; the experiment's own by default.", show_default=False)
]
StoreOption = Annotated[str, typer.Option(help="Folder or fsspec URL that keeps runs, such as s3://bucket/runs.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=0, help="Processes; one for each core by default, 0 for none.", show_default=False)
]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler, such as tcp://head:8786.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list", epilog="Examples: [bold]learnscope list[/bold] · [bold]learnscope list --json[/bold]")
def list_experiments(store: StoreOption = "runs", as_json: JsonOption = False) -> None:
    """Show the catalogue: experiments, the claims that they judge, their sources, and what is known of them."""
    from learnscope.laboratory.listing import catalogue

    rows = catalogue(store)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    table = Table(
        "experiment", "claim", "status at quick scale", "source", box=None, header_style="bold", pad_edge=False
    )
    for row in rows:
        first = True
        for claim in row["claims"]:
            status = _styled(claim["status"])
            table.add_row(row["name"] if first else "", claim["name"], status, claim["source"])
            first = False
    _console().print(table)


@app.command(
    epilog="Examples: [bold]learnscope run marchenko-pastur[/bold] · "
    "[bold]learnscope run marchenko-pastur --set dim=200 --seeds 20[/bold] · [bold]learnscope run ./mine.py[/bold] · "
    "[bold]learnscope run mixed-dynamics --scale paper --scheduler tcp://head:8786[/bold]"
)
def run(
    name: Name,
    scale: ScaleOption = "quick",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, as often as you like; commas separate values.", show_default=False),
    ] = None,
    seeds: SeedsOption = None,
    store: StoreOption = "runs",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Run one experiment: compute what is missing, judge its claims, and write its report.

    Experiments that are parts of the same result run along, unless --set changes settings. Ctrl-C stops it; the same
    command goes on from there. The exit status is 1 if a claim is not reproduced, a negative
    control passes, or a point raised.
    """
    from learnscope.cli.scope import print_place
    from learnscope.laboratory import load, prepare, run_all
    from learnscope.laboratory.listing import with_parts

    experiment = load(name)
    values = experiment.settings.parsed(changes or (), experiment.name)
    experiments = [experiment] if values else with_parts(experiment)
    prepared = [prepare(each, scale=scale, changes=values, seeds=seeds, store=store) for each in experiments]
    with _progress(f"{experiment.name}, {scale} scale", quiet=False) as watch:
        finished = run_all(prepared, workers=workers, scheduler=scheduler, watch=watch)
    _leave_if_interrupted(finished)
    _print_verdicts(finished)
    for each in finished:
        if each.stored:
            print_place(each.report())
    _leave(finished)


@app.command(
    epilog="Examples: [bold]learnscope verify[/bold] · "
    "[bold]learnscope verify marchenko-pastur gd-contraction[/bold] · "
    "[bold]learnscope verify --json > verdicts.json[/bold]"
)
def verify(
    names: Names = None,
    scale: ScaleOption = "quick",
    seeds: SeedsOption = None,
    store: StoreOption = "runs",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge claims: compute what is missing, and print predicted, measured, interval, band and verdict in one table.

    The exit status is 1 if a claim is not reproduced, a negative control passes, or a point raised.
    """
    from learnscope.laboratory import prepare, run_all
    from learnscope.laboratory.listing import resolved
    from learnscope.laboratory.summary import claims_json

    experiments = resolved(names or ())
    prepared = [prepare(experiment, scale=scale, seeds=seeds, store=store) for experiment in experiments]
    with _progress("Verifying", quiet=as_json) as watch:
        finished = run_all(prepared, workers=workers, scheduler=scheduler, watch=watch)
    _leave_if_interrupted(finished)
    if as_json:
        found = {each.experiment.name: claims_json(each.verdicts, len(each.seeds), each.notes) for each in finished}
        typer.echo(json.dumps(found, indent=1))
    else:
        _print_verdicts(finished)
    _leave(finished)


def _leave_if_interrupted(finished: list[Run]) -> None:
    progress = finished[0].progress
    if progress is not None and progress.interrupted:
        _console(errors=True).print(
            f"Stopped with {progress.finished:,} of {progress.total:,} points computed; the same command goes on "
            "from there."
        )
        raise typer.Exit(INTERRUPTED)


def _leave(finished: list[Run]) -> None:
    if not all(each.sound for each in finished):
        raise typer.Exit(FAILED)


def _print_verdicts(finished: list[Run]) -> None:
    from rich.table import Table
    from rich.text import Text

    from learnscope.laboratory.summary import band_text, measured_text, number

    table = Table("claim", "predicted", "measured", "band", "verdict", "control", box=None, header_style="dim")
    for verdict in (verdict for each in finished for verdict in each.verdicts):
        table.add_row(Text(verdict.claim.name, style="bold"), "", "", "", _styled(verdict.verdict), "")
        for judged in verdict.criteria:
            table.add_row(
                Text(f"  {judged.criterion.name}"),
                number(judged.predicted),
                Text(measured_text(judged.measured)),
                band_text(judged.band),
                _styled("" if judged.verdict == verdict.verdict else judged.verdict),
                _control(judged),
            )
    console = _console()
    console.print(table)
    _print_troubles(finished)
    verdicts = [verdict.verdict for each in finished for verdict in each.verdicts]
    counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in STYLES if kind in verdicts)
    console.print(f"{len(verdicts)} claims: {counts}." if verdicts else "Nothing was judged.")


def _print_troubles(finished: list[Run]) -> None:
    from rich.text import Text

    console = _console()
    for each in finished:
        for note in each.notes:
            console.print(Text(f"! {each.experiment.name}: {note}", style="yellow"), soft_wrap=True)
        for failure in each.failures[:TRACEBACKS]:
            console.print(Text(f"! {each.experiment.name}: seed {failure.seed} at {dict(failure.point)} raised"))
            console.print(Text(failure.traceback.rstrip()), soft_wrap=True)


def _control(judged: Judged) -> Any:
    from rich.text import Text

    from learnscope.laboratory.summary import number

    if judged.control is None:
        return Text("")
    value, outcome = number(float(judged.control.measured)), judged.control.outcome
    return Text(f"{value} {outcome}", style={"does not fail": "bold red", "no number": "dim"}.get(outcome, ""))


def _styled(text: str) -> Any:
    from rich.text import Text

    return Text(text, style=STYLES.get(text, "dim"))


def _console(*, errors: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=errors)
    return console if console.is_terminal else Console(stderr=errors, width=max(console.width, WIDTH))


@contextmanager
def _progress(title: str, *, quiet: bool) -> Iterator[Watch]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=_console(errors=True), disable=quiet, transient=True) as bar:
        task = bar.add_task(title, total=None, state="")

        def watch(progress: SweepProgress) -> None:
            state = f"{progress.workers} workers" if progress.workers else "starting workers"
            state += f", {len(progress.failed)} raised" if progress.failed else ""
            bar.update(task, total=progress.total, completed=progress.finished + len(progress.failed), state=state)

        yield watch
