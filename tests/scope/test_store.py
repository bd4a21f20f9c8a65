import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from learnscope.errors import StoreError
from learnscope.scope import record, store, tables
from learnscope.scope.store import Store


def measurement(value, layers=("a", "b")):
    return {
        "one": xr.Dataset(
            {
                "size": ("layer", np.full(len(layers), float(value)), {"long_name": "size", "units": "m"}),
                "weight": ("layer", np.full(len(layers), 2.0 * value)),
                "total": ((), float(value)),
            },
            coords={"layer": list(layers)},
        )
    }


@pytest.fixture(params=["memory", "folder"])
def empty(request, tmp_path):
    return Store.in_memory() if request.param == "memory" else Store.at(tmp_path / "run")


def test_what_is_appended_is_read_back_with_names_dims_and_attributes(empty):
    for step in (0, 3, 10):
        empty.append(step, measurement(step))
    data = empty.read()
    assert data["step"].values.tolist() == [0, 3, 10]
    assert data["size"].dims == ("step", "layer")
    assert data["layer"].values.tolist() == ["a", "b"]
    assert data["weight"].sel(step=3).values.tolist() == [6.0, 6.0]
    assert data["total"].values.tolist() == [0.0, 3.0, 10.0]
    assert data["size"].attrs == {"long_name": "size", "units": "m"}


def test_an_observable_that_comes_late_or_stays_away_is_missing_there(empty):
    empty.append(0, {})
    empty.append(1, measurement(1))
    empty.append(2, {})
    assert np.isnan(empty.read()["total"].values).tolist() == [True, False, True]


def test_the_last_measurement_can_be_added_to(empty):
    empty.append(0, measurement(1))
    empty.append(4, {"one": measurement(2)["one"][["size"]]})
    late = xr.Dataset({"late": ("layer", np.array([5.0, 6.0]))}, coords={"layer": ["a", "b"]})
    empty.amend(4, {"one": measurement(3)["one"][["total"]], "late": late})
    data = empty.read()
    assert data["total"].values.tolist() == [1.0, 3.0]
    assert data["size"][1].values.tolist() == [2.0, 2.0]
    assert np.isnan(data["weight"][1]).all()
    assert data["late"][1].values.tolist() == [5.0, 6.0]
    assert np.isnan(data["late"][0]).all()
    empty.append(5, measurement(7))
    assert empty.read()["total"].values.tolist() == [1.0, 3.0, 7.0]


def test_another_measurement_than_the_last_cannot_be_added_to(empty):
    with pytest.raises(StoreError, match="step 0 is not the last on record"):
        empty.amend(0, measurement(1))
    empty.append(0, measurement(1))
    empty.append(1, measurement(2))
    with pytest.raises(StoreError, match="step 0 is not the last on record"):
        empty.amend(0, measurement(1))


def test_an_addition_that_breaks_off_leaves_what_was_measured(empty, monkeypatch):
    empty.append(0, measurement(1))
    write, calls = tables.Table.amend, []

    def breaking(table, *arguments):
        calls.append(table)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write(table, *arguments)

    monkeypatch.setattr(tables.Table, "amend", breaking)
    with pytest.raises(StoreError, match="free some space"):
        empty.amend(0, measurement(2))
    data = empty.read()
    assert {float(data["total"][0]), float(data["size"][0, 0])} == {1.0, 2.0}
    assert float(data["weight"][0, 0]) == 2 * float(data["size"][0, 0])


def test_more_measurements_than_the_first_capacity(empty):
    for step in range(store.CAPACITY + 3):
        empty.append(step, measurement(step))
    assert empty.read()["total"].values.tolist() == [float(s) for s in range(store.CAPACITY + 3)]


def test_a_measurement_counts_only_once_its_step_is_written(tmp_path):
    one = Store.at(tmp_path)
    one.append(0, measurement(1))
    # what a process killed in the middle of a measurement leaves behind
    array = one.group["tables/layer.0"]
    assert isinstance(array, zarr.Array)
    array[1] = np.full(array.shape[1:], 99.0)
    assert Store.open(tmp_path).read()["size"].shape == (1, 2)
    one.release()
    again = Store.at(tmp_path)
    again.append(5, measurement(5))
    assert again.read()["size"].values[1].tolist() == [5.0, 5.0]


def test_reading_goes_on_while_it_is_written(tmp_path):
    writer = Store.at(tmp_path)
    writer.append(0, measurement(0))
    reader = record.open(tmp_path)
    assert reader.data.sizes["step"] == 1
    writer.append(1, measurement(1))
    assert reader.data.sizes["step"] == 2


def test_two_observables_cannot_measure_the_same_quantity(empty):
    twice = measurement(0) | {"two": measurement(0)["one"]}
    with pytest.raises(StoreError, match="two observables measure a quantity named 'size'"):
        empty.append(0, twice)
    assert empty.steps().tolist() == []


def test_another_shape_is_refused(empty):
    empty.append(0, measurement(0))
    with pytest.raises(StoreError, match="same variables at every step"):
        empty.append(1, measurement(1, layers=("a", "b", "c")))
    assert empty.steps().tolist() == [0]


def test_initial_parameters_are_kept_bit_for_bit(empty):
    initial = {"w": torch.randn(3, 2), "b": torch.randn(4).bfloat16()}
    empty.write_initial(initial)
    back = empty.initial()
    assert all(torch.equal(back[name], value) for name, value in initial.items())


def test_large_quantities_are_read_when_they_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LARGE", 8)
    one = Store.at(tmp_path)
    one.append(0, measurement(1))
    assert one.read()["size"].isel(step=0, layer=1).item() == 1.0


def test_a_store_from_a_newer_version_is_refused(tmp_path):
    Store.at(tmp_path)
    path = tmp_path / store.RECORD / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"]["learnscope_format"] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"format 99, made by a newer Learnscope.*pip install -U learnscope"):
        Store.at(tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"zarr_format": 3, "node_type": "group", "attributes": {}}'])
def test_a_damaged_record_says_so(tmp_path, content):
    Store.at(tmp_path)
    (tmp_path / store.RECORD / "zarr.json").write_text(content)
    with pytest.raises(StoreError, match="cannot be read"):
        Store.open(tmp_path)


def test_opening_what_is_not_there_says_so(tmp_path):
    with pytest.raises(StoreError, match="there is no record in"):
        record.open(tmp_path / "nothing")


def test_an_unwritable_place_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be written .* choose another folder"):
        Store.at(tmp_path / "file" / "run")


def test_a_file_cannot_be_a_store(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"store is '.*file', which is a file: choose the name of a folder"):
        Store.at(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["initial.safetensors", "report.html"])
def test_files_that_are_not_ours_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(StoreError, match=rf"holds '{name}' but no record.* choose another folder"):
        Store.at(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_with_other_files_may_hold_a_record(tmp_path):
    (tmp_path / "settings.yaml").write_text("mine")
    Store.at(tmp_path).append(0, measurement(0))
    assert (tmp_path / "settings.yaml").read_text() == "mine"
    assert Store.at(tmp_path).steps().tolist() == [0]


def test_a_reader_sees_what_is_noted_later(tmp_path):
    writer = Store.at(tmp_path)
    writer.append(0, measurement(0))
    reader = record.open(tmp_path)
    assert "failures" not in reader.data.attrs
    writer.note(failures={"a": "step 0: ValueError: no"})
    assert reader.data.attrs["failures"] == {"a": "step 0: ValueError: no"}
    assert "a could not be measured" in reader.findings()[0].sentence
    before = reader.data
    assert reader.data is before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    one = Store.at(tmp_path)
    one.append(0, measurement(0))

    def full(path, value, exclusive=False):
        with open("/dev/full", "wb", buffering=0) as f:
            return f.write(bytes(value.as_buffer_like()))

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(StoreError, match=r"No space left on device.*free some space or choose another folder"):
        one.append(1, measurement(1))
    monkeypatch.undo()
    assert Store.open(tmp_path).steps().tolist() == [0]
    one.append(1, measurement(1))
    assert Store.open(tmp_path).read()["total"].values.tolist() == [0.0, 1.0]


def test_a_process_killed_at_any_instant_leaves_every_earlier_measurement(tmp_path):
    script = textwrap.dedent(
        f"""
        import sys, numpy as np, xarray as xr
        from learnscope.scope.store import Store
        store = Store.at({str(tmp_path / "run")!r})
        step = len(store.steps())
        while True:
            big = xr.Dataset({{"v": (("a", "b"), np.full((200, 50), float(step)))}})
            store.append(step, {{"big": big, "small": xr.Dataset({{"s": ((), float(step))}})}})
            print(step, flush=True)
            step += 1
        """
    )
    confirmed = -1
    for delay in (0.01, 0.023, 0.05):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            confirmed = max(confirmed, int(process.stdout.readline()))
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            confirmed = max([confirmed, *map(int, process.stdout.read().split("\n")[:-1])])
        data = Store.open(tmp_path / "run").read()
        steps = data["step"].values
        assert steps.tolist() == list(range(len(steps)))
        assert len(steps) > confirmed
        assert (data["v"].values == steps[:, None, None]).all()
        assert (data["s"].values == steps).all()
