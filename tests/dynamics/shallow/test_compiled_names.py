"""What machine code that is kept on disk relies on."""

import importlib
import pkgutil
from collections import Counter

from numba.core.dispatcher import Dispatcher

from learnscope.dynamics.shallow import compiled


def test_no_two_compiled_functions_have_one_name():
    # code from another process refers to them by name, and would call the wrong one
    modules = [
        importlib.import_module(f"{compiled.__name__}.{found.name}")
        for found in pkgutil.iter_modules(compiled.__path__)
    ]
    functions = {
        id(value): (value.py_func.__module__, value.py_func.__qualname__)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Dispatcher)
    }
    assert len(functions) > 30
    assert [name for name, count in Counter(functions.values()).items() if count > 1] == []
