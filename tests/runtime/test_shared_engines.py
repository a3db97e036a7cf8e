"""Models of one checkpoint share an engine, or a warning says that they do not."""

from __future__ import annotations

from types import SimpleNamespace

from slipway.runtime import shared_engines
from slipway.runtime.shared_engines import acquire_engine
from slipway.transformer.options import EngineOptions


def test_models_with_the_same_options_share_an_engine_and_others_are_warned(tmp_path, monkeypatch, caplog):
    opened = []

    def open_engine(*_, name, **__):
        opened.append(name)
        return SimpleNamespace(close=lambda: opened.remove(name))

    monkeypatch.setattr(shared_engines, "open_engine", open_engine)
    checkpoint = SimpleNamespace(spec=None, weights=None)

    def acquire(name, directory=tmp_path, **parameters):
        return acquire_engine(directory, checkpoint, EngineOptions.of(parameters, tmp_path), name=name)

    used = [acquire("a"), acquire("b"), acquire("elsewhere", tmp_path / "other")]
    assert opened == ["a", "elsewhere"]
    assert not caplog.records
    used.append(acquire("c", KV_CACHE_MIB="64"))
    [record] = caplog.records
    assert record.getMessage().startswith(f"model 'c' loads the weights in {tmp_path} once more")
    for each in used:
        each.release()
    assert opened == []
