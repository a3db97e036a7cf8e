"""The optimisers of tensor2tensor's hyper-parameters: Adam and Adafactor. Imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import Parameter

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.train.adafactor import Adafactor, AdafactorSettings


def make_optimiser(hparams: HParams, parameters: Mapping[str, Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser of `hparams.optimizer` for parameters by name; the caller sets the learning rate before each
    update.

    Weight decay is tensor2tensor's: the loss gains `weight_decay / 2` times the squares of all parameters but biases.
    """
    groups = [
        {
            "params": [value for name, value in parameters.items() if name.endswith("bias") is biases],
            "weight_decay": 0.0 if biases else hparams.weight_decay,
        }
        for biases in (False, True)
    ]
    if hparams.optimizer.lower() == "adafactor":
        settings = AdafactorSettings(
            beta1=hparams.optimizer_adafactor_beta1,
            beta2=hparams.optimizer_adafactor_beta2 if hparams.optimizer_adafactor_decay_type == "adam" else None,
            exponent=hparams.optimizer_adafactor_memory_exponent,
            clipping=hparams.optimizer_adafactor_clipping_threshold,
            factored=hparams.optimizer_adafactor_factored,
            scale_by_weights=hparams.optimizer_adafactor_multiply_by_parameter_scale,
        )
        return Adafactor(groups, settings)
    betas = hparams.optimizer_adam_beta1, hparams.optimizer_adam_beta2
    return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=hparams.optimizer_adam_epsilon, fused=True)


def accumulated_batches(hparams: HParams) -> int:
    """Return the number of batches whose gradients make one update."""
    if hparams.optimizer.lower() != "multistep_adam":
        return 1
    return max(1, hparams.optimizer_multistep_accumulate_steps)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of the next update."""
    for group in optimiser.param_groups:
        group["lr"] = rate
