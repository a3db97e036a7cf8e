"""Tiny models and their engines, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from slipway.transformer.ctranslate2.engine import CTranslate2Engine
from tests.transformer.ctranslate2.checkpoints import Tiny, make

Open = Callable[[str], tuple[Tiny, CTranslate2Engine]]


@pytest.fixture(scope="session")
def opened(tmp_path_factory) -> Open:
    """Return the model of a name, in transformers and in CTranslate2."""

    @cache
    def open_model(name: str) -> tuple[Tiny, CTranslate2Engine]:
        directory = tmp_path_factory.mktemp("model")
        tiny = make(name, directory)
        return tiny, CTranslate2Engine.open(
            tiny.checkpoint.spec, tiny.checkpoint.weights, cache_directory=directory / "cache"
        )

    return open_model
