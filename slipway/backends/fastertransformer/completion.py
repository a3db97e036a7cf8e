"""The inputs and outputs of each model type as tables, to complete a config.pbtxt that leaves them out.

Source: `all_models/*/fastertransformer/config.pbtxt` of the FasterTransformer backend. Two settings are always changed,
everything else that a file says is kept: the datatypes of hidden states follow `data_type`, as upstream, and every
input may be ragged, because requests are read one by one and can be batched even if lengths and arguments differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.fastertransformer.configuration import ModelType

MAX_BATCH: Final = 1024  # the value in upstream's files
_TYPES: Final = {
    "fp32": model_config_pb2.TYPE_FP32,
    "fp16": model_config_pb2.TYPE_FP16,
    "bf16": model_config_pb2.TYPE_BF16,
}
_FOLLOW_DATA_TYPE: Final = ("output_hidden_state", "output_attentions")


@dataclass(frozen=True, slots=True)
class ArgumentTensor:
    """One input or output; `scalar` inputs are [1] per row and reshaped to [ ]."""

    name: str
    data_type: str
    dims: tuple[int, ...] = (1,)
    scalar: bool = False
    optional: bool = True


def _arguments(data_type: str, *names: str) -> tuple[ArgumentTensor, ...]:
    return tuple(ArgumentTensor(name, data_type, scalar=True) for name in names)


DECODING: Final = (
    *_arguments("UINT32", "runtime_top_k"),
    *_arguments("FP32", "runtime_top_p", "beam_search_diversity_rate", "temperature", "len_penalty"),
    *_arguments("FP32", "repetition_penalty", "presence_penalty"),
    *_arguments("INT32", "min_length"),
    *_arguments("UINT64", "random_seed"),
    *_arguments("BOOL", "is_return_log_probs"),
    *_arguments("UINT32", "beam_width", "start_id", "end_id"),
    ArgumentTensor("bad_words_list", "INT32", (2, -1)),
    ArgumentTensor("stop_words_list", "INT32", (2, -1)),
    *_arguments("UINT32", "prompt_learning_task_name_ids", "request_prompt_lengths"),
    ArgumentTensor("request_prompt_embedding", "FP16", (-1, -1)),
    *_arguments("FP32", "top_p_decay", "top_p_min"),
    *_arguments("UINT32", "top_p_reset_ids"),
)
_IDS: Final = ArgumentTensor("input_ids", "UINT32", (-1,), optional=False)
_LENGTH: Final = ArgumentTensor("sequence_length", "UINT32", scalar=True, optional=False)
_INPUTS: Final = {
    ModelType.T5: (
        _IDS,
        _LENGTH,
        ArgumentTensor("max_output_len", "UINT32", scalar=True, optional=False),
        *DECODING,
        *_arguments("INT32", "ia3_tasks"),
    ),
    ModelType.GPT: (
        _IDS,
        ArgumentTensor("input_lengths", "UINT32", scalar=True, optional=False),
        ArgumentTensor("request_output_len", "UINT32", (-1,), optional=False),
        *DECODING,
        *_arguments("UINT32", "request_prompt_type"),
        *_arguments("BOOL", "is_return_context_embeddings"),
    ),
    ModelType.T5_ENCODER: (
        _IDS,
        _LENGTH,
        *_arguments("BOOL", "is_return_attentions"),
        *_arguments("INT32", "ia3_tasks"),
    ),
    ModelType.BERT: (
        ArgumentTensor("input_hidden_state", "FP32", (-1, -1), optional=False),
        ArgumentTensor("sequence_lengths", "INT32", scalar=True, optional=False),
    ),
}
_LOG_PROBABILITIES: Final = (
    ArgumentTensor("cum_log_probs", "FP32", (-1,)),
    ArgumentTensor("output_log_probs", "FP32", (-1, -1)),
)
_HIDDEN: Final = ArgumentTensor("output_hidden_state", "FP32", (-1, -1))
_OUTPUTS: Final = {
    ModelType.T5: (
        ArgumentTensor("output_ids", "INT32", (-1, -1)),
        ArgumentTensor("sequence_length", "INT32", (-1,)),
        *_LOG_PROBABILITIES,
    ),
    ModelType.GPT: (
        ArgumentTensor("output_ids", "UINT32", (-1, -1)),
        ArgumentTensor("sequence_length", "UINT32", (-1,)),
        ArgumentTensor("response_input_lengths", "INT32", (-1,)),
        *_LOG_PROBABILITIES,
        ArgumentTensor("context_embeddings", "FP32", (-1, -1)),
    ),
    ModelType.T5_ENCODER: (_HIDDEN, ArgumentTensor("output_attentions", "FP32", (-1, -1, -1, -1))),
    ModelType.BERT: (_HIDDEN,),
}


def complete_interface(config: model_config_pb2.ModelConfig, kind: ModelType, data_type: str) -> None:
    """Fill in the current interface if `config` declares no tensors; set the datatypes that follow `data_type`."""
    beta = {"INPUT_ID", "OUTPUT0"} & {declared.name for declared in (*config.input, *config.output)}
    if not config.input and not config.output and config.max_batch_size == 0:
        config.max_batch_size = MAX_BATCH
        if config.WhichOneof("scheduling_choice") is None:
            config.dynamic_batching.SetInParent()
    if not config.input and not beta:
        for row in _INPUTS[kind]:
            _declare(config.input.add(), row)
    if not config.output and not beta:
        for row in _OUTPUTS[kind]:
            _declare(config.output.add(), row)
    if data_type:
        for declared in config.output:
            if declared.name in _FOLLOW_DATA_TYPE:
                declared.data_type = _TYPES[data_type]
    if config.max_batch_size > 0:
        for declared in config.input:
            declared.allow_ragged_batch = True


def _declare(target: model_config_pb2.ModelInput | model_config_pb2.ModelOutput, row: ArgumentTensor) -> None:
    target.name = row.name
    target.data_type = model_config_pb2.DataType.Value(f"TYPE_{row.data_type}")
    target.dims.extend(row.dims)
    if row.scalar:
        target.reshape.SetInParent()
    if isinstance(target, model_config_pb2.ModelInput):
        target.optional = row.optional
