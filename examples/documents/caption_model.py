"""The caption classifier, in small: DeBERTa, the state of the first token, and the probability that it is a caption.

`slipway convert-module` imports this script for the class, as the guide's command does with the original.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DebertaConfig, DebertaModel

TOKENS = 128
VOCABULARY = 600


class CaptionClassifier(torch.nn.Module):
    """Ids INT64 [texts, 128] and mask FP32 [texts, 128] to probabilities FP32 [texts, 1]; token types are not used."""

    def __init__(self) -> None:
        super().__init__()
        config = DebertaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=TOKENS,
            relative_attention=True,
            pos_att_type=["c2p", "p2c"],
            type_vocab_size=0,
        )
        self.model = DebertaModel(config)
        self.head = torch.nn.Linear(config.hidden_size, 1)

    def logits(self, input_ids: Tensor, input_mask: Tensor) -> Tensor:
        """Return the logits [texts, 1]."""
        states: Any = self.model(input_ids=input_ids, attention_mask=input_mask).last_hidden_state
        return self.head(states[:, 0])

    def forward(self, input_ids: Tensor, input_mask: Tensor, _types: Tensor) -> Tensor:
        """Return the probabilities [texts, 1]."""
        return self.logits(input_ids, input_mask).sigmoid()
