"""The catalogue finds experiments by itself: files of ``learnscope.experiments``, and those of your own folders.

Folders in ``learnscope.experiments`` hold what several experiments share, and are no experiments.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from functools import cache
from pathlib import Path

from learnscope.errors import InputError, nearest_names
from learnscope.laboratory.experiment import Experiment

PACKAGE = "learnscope.experiments"
FOLDERS = "LEARNSCOPE_EXPERIMENTS"


def names() -> list[str]:
    """Return the names of all experiments: those that ship, and those in the folders of ``LEARNSCOPE_EXPERIMENTS``."""
    return sorted({*_shipped(), *_own()})


def load(reference: str | Experiment) -> Experiment:
    """Return an experiment by its name or by the path of its file; one that is at hand already is returned as it is.

    Raises:
        InputError: if there is none of this name (with the nearest names), or the file holds none.
    """
    if isinstance(reference, Experiment):
        return reference
    if reference.endswith(".py"):
        return _from_file(Path(reference).expanduser().resolve())
    if reference in (own := _own()):
        return _from_file(own[reference])
    if reference in _shipped():
        return _from_package(reference)
    raise InputError(
        f"there is no experiment {reference!r}: did you mean {nearest_names(reference, names())}? A file of your own "
        f"is named by its path, as in ./mine.py, or put into a folder of {FOLDERS}."
    )


def code_of(experiment: Experiment) -> str:
    """Return a short name of the text of the file that defines an experiment, or "" if there is none."""
    simulate = getattr(experiment.simulate, "func", experiment.simulate)  # of a functools.partial
    path = inspect.getsourcefile(simulate)
    if path is None or not Path(path).is_file():
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


@cache
def _shipped() -> frozenset[str]:
    package = importlib.import_module(PACKAGE)
    modules = pkgutil.iter_modules(package.__path__)
    return frozenset(module.name.replace("_", "-") for module in modules if not module.ispkg)


def _own() -> dict[str, Path]:
    folders = [Path(folder).expanduser() for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    return {
        path.stem.replace("_", "-"): path.resolve() for folder in folders for path in sorted(folder.glob("[!_]*.py"))
    }


@cache
def _from_package(name: str) -> Experiment:
    module = importlib.import_module(f"{PACKAGE}.{name.replace('-', '_')}")
    return _record(module, name)


def _from_file(path: Path) -> Experiment:
    if not path.is_file():
        raise InputError(
            f"there is no file {str(path)!r}: name an experiment of the catalogue, or the path of a Python file."
        )
    return _from_content(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


@cache
def _from_content(path: str, digest: str) -> Experiment:
    """Load a file; one that was edited has another digest, so it is loaded again."""
    name = f"learnscope_own_experiments.{Path(path).stem}_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path!r} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path!r} cannot be loaded ({type(error).__name__}: {error}): correct it.") from error
    return _record(module, path)


def _record(module: object, origin: str) -> Experiment:
    record = getattr(module, "EXPERIMENT", None)
    if not isinstance(record, Experiment):
        raise InputError(f"{origin!r} defines no EXPERIMENT = Experiment(...): add it as the last line of the file.")
    return dataclasses.replace(record, origin=origin)
