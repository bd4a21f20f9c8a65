"""Ctrl-C reaches every process of a terminal; the main thread of the one that was started by hand acts on it, alone."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Let threads and processes that are started in this block, and those that they start later, not see Ctrl-C."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # now, since its start undoes the next line in whichever thread needs it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def held() -> Iterator[None]:
    """Put Ctrl-C off to the end of this block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def held_while_closing() -> Iterator[ExitStack]:
    """Close what is entered into the stack even if Ctrl-C is pressed again meanwhile."""
    stack = ExitStack()
    try:
        yield stack
    finally:
        with held():
            stack.close()
