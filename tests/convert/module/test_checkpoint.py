"""The weight files that are read, and the errors for those that are not."""

from __future__ import annotations

import warnings

import pytest

from slipway.convert.module.checkpoint import load_weights
from slipway.errors import SlipwayError


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def model(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))


def test_wrappers_and_prefixes_of_training_loops_come_off(torch, model, tmp_path):
    state = model.state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}
    compiled = {f"module._orig_mod.{name}": value for name, value in state.items()}
    for form in (
        state,
        parallel,
        compiled,
        {"state_dict": state, "epoch": 3},
        {"model": parallel, "optimizer": {"lr": 0.1}},
        {"model_state_dict": state},
        {"model": {"state_dict": state, "step": 1}},
    ):
        torch.save(form, tmp_path / "c.pt")
        empty = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
        load_weights(empty, tmp_path / "c.pt", allow_pickle=False)
        assert all(torch.equal(empty.state_dict()[name], value) for name, value in state.items())


def test_a_prefix_that_is_the_models_own_stays(torch, tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = torch.nn.Linear(2, 2)

    own = Own()
    torch.save(own.state_dict(), tmp_path / "c.pt")
    load_weights(Own(), tmp_path / "c.pt", allow_pickle=False)


def test_safetensors_are_read(model, torch, tmp_path):
    from safetensors.torch import save_file

    save_file(model.state_dict(), tmp_path / "c.safetensors")
    empty = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    load_weights(empty, tmp_path / "c.safetensors", allow_pickle=False)
    assert torch.equal(empty[0].weight, model[0].weight)


def test_a_pickled_model_needs_leave(model, torch, tmp_path):
    torch.save(model, tmp_path / "c.pt")
    with pytest.raises(SlipwayError, match=r"that only pickle can load .*torch\.nn.*--allow-pickle"):
        load_weights(model, tmp_path / "c.pt", allow_pickle=False)
    load_weights(model, tmp_path / "c.pt", allow_pickle=True)


def write_torchscript(torch, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(3, 2)).save(path)


SPOILED = {
    "is not a file": lambda _, path: path.with_name("other").touch(),
    "is not a readable checkpoint": lambda _, path: path.write_bytes(b"garbage"),
    "is not a readable checkpoint: ": lambda _, path: path.write_bytes(b""),
    "is a TorchScript program, not a state_dict": write_torchscript,
    "contains a dict with the keys 'epoch', 'lr' instead of a state_dict": lambda torch, path: torch.save(
        {"epoch": 1, "lr": 0.1}, path
    ),
    "contains a list instead of a state_dict": lambda torch, path: torch.save([1], path),
    r"missing '0.bias', '1.weight', '1.bias'; '0.weight' is \[1\] in the file, \[2, 3\] in the class": (
        lambda torch, path: torch.save({"0.weight": torch.ones(1)}, path)
    ),
    "unexpected 'n0', 'n1', 'n2' and 2 more": lambda torch, path: torch.save(
        {f"n{number}": torch.ones(1) for number in range(5)}, path
    ),
}


@pytest.mark.parametrize("message", SPOILED)
def test_an_unusable_file_is_named_with_the_reason_in_one_line(torch, model, tmp_path, message):
    path = tmp_path / "c.pt"
    SPOILED[message](torch, path)
    with pytest.raises(SlipwayError, match=message) as caught:
        load_weights(model, path, allow_pickle=False)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_named(torch, model, tmp_path):
    path = tmp_path / "c.pt"
    torch.save(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SlipwayError, match="is not a readable checkpoint"):
        load_weights(model, path, allow_pickle=False)
    path.rename(tmp_path / "c.safetensors")
    with pytest.raises(SlipwayError, match="is not a readable checkpoint"):
        load_weights(model, tmp_path / "c.safetensors", allow_pickle=False)
