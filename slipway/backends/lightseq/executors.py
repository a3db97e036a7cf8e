"""Make the executor of an instance from a checkpoint and an engine: the file's limits and rules set up its readers.

The only module that knows both LightSeq's `model_conf` and the readers of requests.
"""

from __future__ import annotations

import numpy as np

from slipway.backends.api import Executor
from slipway.backends.lightseq.decoding import DecodingRules
from slipway.backends.lightseq.jobs import (
    ContinuationReader,
    ImageEncodingReader,
    ScoringReader,
    TextEncodingReader,
    TranslationReader,
)
from slipway.backends.lightseq.model_types import INTERFACES, LightSeqTask
from slipway.backends.lightseq.requests import TokenInput
from slipway.backends.lightseq.settings import LightSeqSettings
from slipway.backends.shared.generation import GenerationExecutor
from slipway.backends.shared.single_pass import EncodingExecutor, ScoringExecutor
from slipway.checkpoints.lightseq.reader import LightSeqCheckpoint
from slipway.transformer.generation import SequenceRequest, TransformerEngine
from slipway.transformer.spec import Transformer

PERPLEXITY = "ppl"


def typical_row(task: LightSeqTask, checkpoint: LightSeqCheckpoint) -> SequenceRequest | None:
    """Return a row with the file's decoding, which every row of a generating model has; None for other models."""
    if task not in (LightSeqTask.TRANSLATE, LightSeqTask.CONTINUE) or checkpoint.conf.sampling_method == PERPLEXITY:
        return None
    token = np.array([int(checkpoint.conf.padding_id == 0)], np.int64)  # any id that is not padding
    return SequenceRequest(token, _rules(checkpoint).translation(columns=3, seed=0))


def executor_of(
    task: LightSeqTask, engine: TransformerEngine, checkpoint: LightSeqCheckpoint, settings: LightSeqSettings
) -> Executor:
    """Return an executor that does `task` on `engine` with the settings of the checkpoint's file."""
    if task is LightSeqTask.TRANSLATE:
        translation = TranslationReader(_tokens(task, checkpoint), _rules(checkpoint), settings.seed)
        return GenerationExecutor(engine, translation, default_priority=settings.default_priority)
    if task is LightSeqTask.CONTINUE:
        tokens = _tokens(task, checkpoint)
        if checkpoint.conf.sampling_method == PERPLEXITY:
            return ScoringExecutor(engine, ScoringReader(tokens))
        reader = ContinuationReader(tokens, _rules(checkpoint), settings.seed)
        return GenerationExecutor(engine, reader, default_priority=settings.default_priority)
    stack = checkpoint.checkpoint.spec.input_stack
    if stack.vision is None:
        return EncodingExecutor(engine, TextEncodingReader(_tokens(task, checkpoint), stack.hidden))
    name = INTERFACES[task].input.name
    return EncodingExecutor(engine, ImageEncodingReader(name, stack.vision, stack.hidden))


def _tokens(task: LightSeqTask, checkpoint: LightSeqCheckpoint) -> TokenInput:
    stack, conf = checkpoint.checkpoint.spec.input_stack, checkpoint.conf
    return TokenInput(
        INTERFACES[task].input.name,
        stack.vocabulary,
        conf.max_step,
        padding_id=conf.padding_id,
        mode=checkpoint.checkpoint.spec.language_mode,
        languages=_languages(checkpoint.checkpoint.spec),
        pads_front=task is LightSeqTask.CONTINUE,
    )


def _rules(checkpoint: LightSeqCheckpoint) -> DecodingRules:
    conf = checkpoint.conf
    return DecodingRules(
        conf.sampling_method,
        conf.start_id,
        conf.end_id,
        conf.max_step,
        beam_width=conf.beam_size,
        length_penalty=conf.length_penalty,
        diversity=conf.diverse_lambda,
        top_k=conf.topk,
        top_p=conf.topp,
        extra=conf.extra_decode_length,
    )


def _languages(spec: Transformer) -> frozenset[int]:
    """Return the languages that both sides embed and, where the language selects the expert, that have an expert."""
    stacks = (spec.encoder, spec.decoder)
    embedded = min((stack.languages for stack in stacks if stack is not None and stack.languages), default=0)
    known = frozenset(range(embedded))
    return known & {language for language, _ in spec.language_experts} if spec.language_experts else known
