"""Which engine an instance runs on, with stand-ins for the library: needs no GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from slipway.backends.api import InstanceSpec
from slipway.backends.shared.graph import Graph
from slipway.backends.tensorrt import backend
from slipway.backends.tensorrt.backend import LoadedPlan
from slipway.backends.tensorrt.graph import EngineDescription
from slipway.errors import Code, SlipwayError
from tests.backends.models import context


@pytest.fixture
def ran_on(monkeypatch):
    """List the engine and the device of every context that is opened."""
    opened = []

    def runner(engine, device, **_):
        opened.append((engine, device))
        return SimpleNamespace(run=None)

    monkeypatch.setattr(backend, "read_plan", lambda _tensorrt, _path, device, _name: f"engine {device}")
    monkeypatch.setattr(backend, "ContextRunner", runner)
    return opened


@pytest.fixture
def model(tmp_path):
    description = EngineDescription(Graph({}, {}, {}), ({},), frozenset())
    (tmp_path / "1").mkdir()
    path = tmp_path / "1" / "model.plan"
    return LoadedPlan(context(tmp_path, ""), None, path, plan=description, profiles=(0,), first="engine 0")


def test_instances_on_one_gpu_share_its_engine(model, ran_on):
    for index, device in enumerate([0, 1, 1]):
        model.open(InstanceSpec(f"m_{index}", index, "GPU", device))
    assert ran_on == [("engine 0", 0), ("engine 1", 1), ("engine 1", 1)]


def test_an_instance_without_a_gpu_of_its_own_runs_on_the_first(model, ran_on):
    model.open(InstanceSpec("m_0", 0, "CPU", 3))
    assert ran_on == [("engine 0", 0)]


def test_nothing_opens_after_the_model_was_unloaded(model, ran_on):
    model.unload()
    with pytest.raises(SlipwayError, match="'m_0' opened after its model was unloaded") as caught:
        model.open(InstanceSpec("m_0", 0, "GPU"))
    assert caught.value.code is Code.UNAVAILABLE
    assert ran_on == []
