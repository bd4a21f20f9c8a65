import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import learnscope as ls
from learnscope.errors import InputError
from learnscope.scope import schedules
from learnscope.scope.checkpoints import read_state, step_of
from learnscope.scope.replay import replay
from learnscope.scope.scope import Scope


@pytest.fixture
def run(small_model, blobs, train):
    """A live record and the state dicts at the measured steps."""
    x, y = blobs
    states = {0: copy.deepcopy(small_model.state_dict())}
    scope = Scope(small_model, blobs, at=schedules.every(3))
    for step in (3, 6, 9, 12):
        train(small_model, x, y, 3, scope)
        states[step] = copy.deepcopy(small_model.state_dict())
    return scope.data, states


def without_logged(data):
    return data.drop_vars([name for name in data if str(name).startswith("logged_")])


def kinds(states, folder):
    torches = {step: folder / f"step_{step:03d}.pt" for step in states}
    safe = {step: folder / f"checkpoint-{step}" / "model.safetensors" for step in states}
    for step, state in states.items():
        torch.save({"state_dict": state, "epoch": step}, torches[step])
        safe[step].parent.mkdir()
        save_file(state, safe[step])
    return {
        "torch files": (list(torches.values()), None),
        "safetensors": ([str(p) for p in safe.values()], None),
        "state dicts": (list(states.values()), list(states)),
        "function": (lambda step: states[step], list(states)),
    }


@pytest.mark.parametrize("kind", ["torch files", "safetensors", "state dicts", "function"])
def test_a_replay_gives_the_numbers_of_the_live_scope(kind, run, small_model, blobs, tmp_path):
    live, states = run
    checkpoints, steps = kinds(states, tmp_path)[kind]
    before = copy.deepcopy(small_model.state_dict())
    again = replay(small_model, checkpoints, blobs, steps=steps).data
    assert without_logged(again).identical(without_logged(live))
    assert all(torch.equal(before[name], value) for name, value in small_model.state_dict().items())


def test_order_of_the_checkpoints_does_not_matter(run, small_model, blobs):
    live, states = run
    steps = [6, 0, 12, 9, 3]
    again = replay(small_model, [states[s] for s in steps], blobs, steps=steps).data
    assert without_logged(again).identical(without_logged(live))


def test_a_replay_that_was_cut_short_goes_on(run, small_model, blobs, tmp_path):
    live, states = run
    replay(small_model, [states[0], states[3]], blobs, steps=[0, 3], store=tmp_path)
    calls = []

    def load(step):
        calls.append(step)
        return states[step]

    data = replay(small_model, load, blobs, steps=list(states), store=tmp_path).data
    assert calls == [0, 6, 9, 12]
    assert data["probe_loss"].equals(live["probe_loss"])


def test_prefixes_of_compiled_and_parallel_models_are_dropped(run, small_model, blobs):
    live, states = run
    wrapped = [{f"module._orig_mod.{k}": v for k, v in state.items()} for state in states.values()]
    data = replay(small_model, wrapped, blobs, steps=list(states)).data
    assert data["probe_loss"].equals(live["probe_loss"])


@pytest.mark.parametrize(
    ("name", "step"), [("step=12.ckpt", 12), ("a/checkpoint-300/pytorch_model.bin", 300), ("e2/0040.safetensors", 40)]
)
def test_steps_are_read_from_names(name, step):
    assert step_of(name) == step


class Malicious:
    def __reduce__(self):
        return (print, ("this ran",))


def test_a_file_that_would_run_code_is_refused(tmp_path, small_model, blobs, capsys):
    path = tmp_path / "step1.pt"
    torch.save({"state_dict": Malicious()}, path)
    with pytest.raises(InputError, match="can run code"):
        replay(small_model, [path], blobs)
    assert "this ran" not in capsys.readouterr().out


def test_what_is_wrong_with_checkpoints_is_told_in_one_sentence(small_model, blobs, tmp_path):
    state = small_model.state_dict()
    (tmp_path / "step2.pt").write_bytes(b"not a file of torch")
    (tmp_path / "step3.safetensors").write_bytes(b"\x00" * 40)
    torch.save([1, 2], tmp_path / "step4.pt")
    for checkpoints, steps, message in [
        ([], None, "there are no checkpoints"),
        ([state], None, "state dicts carry no step"),
        ([state], [1, 2], "1 checkpoints but 2 steps"),
        ([state, state], [1, 1], "two checkpoints have step 1"),
        (lambda step: state, None, "steps to call it with"),
        ([tmp_path / "stp2.pt"], None, "nearby are 'step2.pt'"),
        ([tmp_path / "step2.pt"], None, "cannot be read as plain tensors"),
        ([tmp_path / "step3.safetensors"], None, "not a whole safetensors file"),
        ([tmp_path / "step4.pt"], None, "does not hold a state dict"),
        ([tmp_path / "model.pt"], [1], "there is no checkpoint"),
        ([{"0.weight": state["0.weight"]}], [1], "lacks '0.bias'"),
        ([{**state, "more": torch.ones(1)}], [1], "holds 'more', which the model does not have"),
        ([{**state, "0.bias": torch.ones(2)}], [1], "does not fit the model"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            replay(small_model, checkpoints, blobs, steps=steps)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "epoch=3-loss=0.35.ckpt"])
def test_a_name_with_several_numbers_asks_for_steps(name):
    with pytest.raises(InputError, match=r"holds several numbers .*pass steps="):
        step_of(name)


def test_the_number_after_the_word_step_is_the_step():
    assert step_of("epoch=3-step=120-loss=0.35.ckpt") == 120
    assert step_of("model_step1000_seed0.pt") == 1000


def test_a_tied_weight_may_be_left_out_of_a_checkpoint(blobs):
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    model[1].weight = model[0].weight
    state = {name: value for name, value in model.state_dict().items() if name != "1.weight"}
    assert replay(model, [state], blobs, steps=[0]).data.sizes["step"] == 1


def test_a_name_without_a_number_asks_for_steps():
    with pytest.raises(InputError, match=r"pass steps="):
        step_of("model/final.pt")


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_a_model_that_keeps_results_of_a_forward_pass_is_replayed(blobs):
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 8)), nn.Linear(8, 3))
    model(blobs[0])
    kept = model[0].weight
    data = replay(model, [model.state_dict()], blobs, steps=[0]).data
    assert data["probe_loss"].equals(Scope(model, blobs).data["probe_loss"])
    assert model[0].weight is kept


def test_replay_is_exported():
    assert ls.replay is replay
    assert callable(read_state)
