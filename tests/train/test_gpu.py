"""Training on a GPU: bfloat16 products, the same course as on the CPU, and checkpoints that either continues."""

from __future__ import annotations

import math

import pytest
import torch

from slipway.checkpoints.tensor2tensor.training_checkpoint import newest_step
from slipway.train.loader import Share
from slipway.train.processes import Processes
from tests.train import copying


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "adafactor"])
def test_training_on_a_gpu_follows_the_cpu_and_continues_there(optimizer, tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    text = f"optimizer={optimizer},layer_prepostprocess_dropout=0,attention_dropout=0,relu_dropout=0"
    on_cpu = copying.train(tmp_path / "cpu", text, steps=30).losses
    with monkeypatch.context() as patch:
        patch.setattr(copying, "Processes", lambda *_: Processes(Share(), torch.device("cuda")))
        on_gpu = copying.train(tmp_path / "gpu", text, steps=30).losses
        dropped = copying.train(tmp_path / "dropout", "attention_dropout_broadcast_dims=0", steps=5).losses
    assert on_gpu == pytest.approx(on_cpu, abs=0.1)
    assert all(math.isfinite(loss) for loss in dropped)
    assert len(copying.train(tmp_path / "gpu", text, steps=32).losses) == 2
    assert newest_step(tmp_path / "gpu") == 32
