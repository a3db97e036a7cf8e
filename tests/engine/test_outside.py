"""Models from directories outside the repositories."""

from __future__ import annotations

import asyncio

import numpy as np

from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from tests.kits.engine import delay, explicit, identity, rows, until


def test_a_model_that_is_loaded_again_while_it_unloads_stays_known(tmp_path):
    (tmp_path / "models").mkdir()
    directory = identity(tmp_path / "elsewhere", "m", extra=delay(100))

    async def scenario():
        async with explicit(tmp_path / "models") as engine:
            await engine.outside.load({"m": directory})
            answers = []
            values = Tensor.from_array("INPUT0", np.zeros((1, 4), np.float32))
            engine.submit(InferRequest("m", inputs={"INPUT0": values}), answers.append)
            unloading = asyncio.ensure_future(engine.outside.unload({"m": directory}))
            await until(lambda: not engine.outside.is_served("m"))
            await engine.outside.load({"m": directory})
            await unloading
            assert (rows(engine, "m"), answers[0].error) == (["1 READY"], None)
            await engine.outside.unload({"m": directory})
            assert rows(engine, "m") == []

    asyncio.run(scenario())
