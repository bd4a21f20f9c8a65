"""The results of an experiment on any file system: one immutable file a point, and what was done to get it.

::

    <root>/<experiment>/<name of the settings>/
        settings.json                     every setting
        provenance.json                   versions, commit and machine of each session
        points/<point>-<seed>.safetensors one result each
        failures/<point>-<seed>.json      traceback of a point that raised, until it succeeds
        claims.json                       verdicts of the last judgement
        report.html

A file is written under a temporary name and renamed, so a half-written one is never read.
"""

from __future__ import annotations

import json
import os
import platform
import posixpath
import time
import uuid
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from learnscope.errors import StoreError

POINT = ".safetensors"
SETTINGS = "settings.json"
LEFTOVER_SECONDS = 3600


class Folder:
    """The folder of one run, on any fsspec URL.

    Args:
        url: such as "runs/marchenko-pastur/1f2e", "memory://x" or "s3://bucket/x".
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def __getstate__(self) -> str:
        """Travel to other processes, which may have another working directory, with the whole path."""
        return self.path if self._is_local else self.url

    def __setstate__(self, url: str) -> None:
        self.url = url

    @cached_property
    def _place(self) -> tuple[AbstractFileSystem, str]:
        try:
            return url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"the store {self.url!r} cannot be used: {error}.") from error

    @property
    def in_this_process_only(self) -> bool:
        """Whether other processes would not see what is written here."""
        protocol = self._place[0].protocol
        return "memory" in ((protocol,) if isinstance(protocol, str) else protocol)

    @property
    def _is_local(self) -> bool:
        return "file" in self._place[0].protocol

    @property
    def path(self) -> str:
        """The folder's path without its protocol."""
        return self._place[1]

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole: under a temporary name, then renamed.

        Raises:
            StoreError: if it cannot be written.
        """
        system, root = self._place
        final = posixpath.join(root, name)
        folder, last = posixpath.split(final)
        partial = posixpath.join(folder, f".{last}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
        try:
            try:
                self._write_and_rename(system, folder, partial, final, content)
            except BaseException:
                if system.exists(partial):
                    system.rm_file(partial)
                raise
        except OSError as error:
            raise StoreError(
                f"{name} cannot be written to {self.url!r} ({error.strerror or error}): free some space or choose "
                "another --store, and repeat the command; what was computed before is kept."
            ) from error

    def _write_and_rename(
        self, system: AbstractFileSystem, folder: str, partial: str, final: str, content: bytes
    ) -> None:
        if folder not in self._made:
            system.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        system.pipe_file(partial, content)
        if self._is_local:
            os.replace(partial, final)  # noqa: PTH105 - system.mv copies where the target exists
        else:
            system.mv(partial, final)

    @cached_property
    def _made(self) -> set[str]:
        return set()

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if it is not there."""
        system, root = self._place
        try:
            return cast(bytes, system.cat_file(posixpath.join(root, name)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{name} cannot be read from {self.url!r} ({error.strerror or error}).") from error

    def read_all(self, folder: str, names: Iterable[str]) -> dict[str, bytes]:
        """Return the content of files in ``folder``, all fetched together where the file system can."""
        system, root = self._place
        paths = {posixpath.join(root, folder, name): name for name in names}
        if not paths:
            return {}
        if self._is_local:
            return {name: cast(bytes, system.cat_file(path)) for path, name in paths.items()}
        fetched = cast("dict[str, bytes]", system.cat(list(paths), on_error="omit"))
        return {paths[path]: content for path, content in fetched.items()}

    def names(self, folder: str, suffix: str) -> set[str]:
        """Return the names of the finished files in ``folder`` that end in ``suffix``."""
        system, root = self._place
        try:
            found = system.ls(posixpath.join(root, folder), detail=False)
        except FileNotFoundError:
            return set()
        listed = {posixpath.basename(path) for path in found}
        return {name for name in listed if name.endswith(suffix) and not name.startswith(".")}

    def exists(self, name: str) -> bool:
        """Return whether a file is there, asking the file system anew."""
        system, root = self._place
        return system.exists(posixpath.join(root, name))

    def must_exist(self) -> None:
        """Check that this process sees the folder, which every run begins with its settings.

        Raises:
            StoreError: if it does not.
        """
        if not self.exists(SETTINGS):
            raise StoreError(
                f"{self.url!r} is not there on {platform.node()}: do not move it while it is written to, and where "
                "workers run on several machines, choose a --store that all of them see."
            )

    def remove_leftovers(self) -> None:
        """Remove half-written files that killed processes left behind; young ones may be somebody's work."""
        if self._is_local:
            for path in Path(self.path).glob("**/.*.partial"):
                if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                    path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        system, root = self._place
        try:
            system.rm_file(posixpath.join(root, name))
        except FileNotFoundError:
            pass

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values as JSON."""
        self.write(name, json.dumps(value, indent=1, sort_keys=True).encode())

    def read_json(self, name: str) -> Any:
        """Return what a JSON file holds, or None if it is not there.

        Raises:
            StoreError: if it is not JSON.
        """
        content = self.read(name)
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise StoreError(
                f"{name} in {self.url!r} is damaged ({error}): delete it, and repeat the command."
            ) from error


def run_folder(root: str, experiment: str, name: str) -> Folder:
    """Return the folder of an experiment's run with the settings called ``name``."""
    return Folder(
        "/".join((root.rstrip("/") if not root.endswith("://") else root, experiment, name)).replace(":///", "://")
    )


def point_name(key: str, seed: int) -> str:
    """Return the name of a point's result, without its ending."""
    return f"{key}-{seed}"


def claim_folder(folder: Folder, experiment: str, settings: Mapping[str, Any]) -> None:
    """Make a folder the one of these settings, or check that it is.

    Raises:
        StoreError: if it holds results of another experiment, or of other settings.
    """
    stored = folder.read_json(SETTINGS)
    if stored is None:
        folder.write_json(SETTINGS, {"experiment": experiment, "settings": dict(settings)})
        return
    known = stored.get("settings", {})
    differing = [name for name, value in settings.items() if name in known and known[name] != value]
    if stored.get("experiment") != experiment or differing:
        what = (
            f"with {differing[0]} = {known[differing[0]]!r} instead of {settings[differing[0]]!r}" if differing else ""
        )
        raise StoreError(
            f"{folder.url!r} holds results of {stored.get('experiment')!r} {what or 'another experiment'}: move that "
            "folder away, or choose another --store."
        )
