import subprocess
import sys

import pytest

import learnscope as ls


def test_every_exported_name_exists():
    for name in ls.__all__:
        assert getattr(ls, name) is not None
    assert set(ls.__all__) <= set(dir(ls))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'scpoe'"):
        _ = ls.scpoe  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_is_quiet_and_loads_nothing_heavy():
    code = (
        "import sys, learnscope; heavy = {'torch', 'zarr', 'plotly', 'sklearn', 'xarray', 'pandas'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
