"""Write a drafted configuration as config.pbtxt text, with the reason for every choice in a comment.

`parse_config` reads the text back as the same configuration. Knows no model files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.backends.registry import GRAPH_BACKENDS, thread_key
from slipway.drafting.draft import Draft
from slipway.machine import Machine

_Group = model_config_pb2.ModelInstanceGroup


def config_text(draft: Draft, machine: Machine) -> str:
    """Return the text of a drafted configuration."""
    config = draft.config
    blocks = [_head(draft), _batching(draft), _tensors("input", config.input), _tensors("output", config.output)]
    if config.HasField("ensemble_scheduling"):
        blocks.append(_steps(config))
    else:
        blocks += [_instances(config, machine), _scheduling(config), _policy(config)]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _head(draft: Draft) -> Iterator[str]:
    config, name = draft.config, draft.config.name
    kind = "ensemble" if draft.file is None else "model"
    neighbour = "an empty directory 1" if draft.file is None else f"the file {_quoted(f'1/{draft.file.name}')}"
    yield f"# The {kind} {_quoted(name)}, created by `slipway config create`. NVIDIA Triton can read it too."
    yield f"# Save it as config.pbtxt in the directory {_quoted(name)} of a repository, next to {neighbour}."
    yield f"name: {_quoted(config.name)}  # must be the directory's name"
    if config.platform:
        yield f"platform: {_quoted(config.platform)}"
    if config.backend:
        yield f"backend: {_quoted(config.backend)}"
    if config.default_model_filename:
        yield f"default_model_filename: {_quoted(config.default_model_filename)}  # not the backend's default name"


def _batching(draft: Draft) -> Iterator[str]:
    config = draft.config
    if draft.file is None:
        yield "# The smallest of its models: a step must not get more rows than its model accepts."
    elif config.max_batch_size > 0:
        yield "# Maximum rows that run together. Each tensor's first axis is variable: it is the batch axis, and dims"
        yield "# omit it. 8 to 16 suit a CPU; more adds latency and memory, not throughput."
    elif draft.unbatched:
        yield "# 0: requests run one by one and dims are whole shapes:"
        yield f"# {draft.unbatched}."
    else:
        yield "# 0: requests run one at a time and dims are full shapes, because the first axis of a tensor is fixed or"
        yield "# because 0 was requested."
    yield f"max_batch_size: {config.max_batch_size}"


def _tensors(kind: str, tensors: Sequence[Any]) -> Iterator[str]:
    if any(-1 in tensor.dims for tensor in tensors):
        yield "# -1: a size that may vary from request to request"
    yield f"{kind} ["
    for position, tensor in enumerate(tensors):
        comma = "," if position < len(tensors) - 1 else ""
        yield f"  {{ {_tensor(tensor)} }}{comma}"
    yield "]"


def _tensor(tensor: Any) -> str:
    words = [
        f"name: {_quoted(tensor.name)}",
        f"data_type: {model_config_pb2.DataType.Name(tensor.data_type)}",
        f"dims: {_list(tensor.dims)}",
    ]
    if tensor.HasField("reshape"):
        words.append(f"reshape {{ shape: {_list(tensor.reshape.shape)} }}")
    if getattr(tensor, "optional", False):
        words.append("optional: true")
    return " ".join(words)


def _instances(config: model_config_pb2.ModelConfig, machine: Machine) -> Iterator[str]:
    threads = max(1, machine.cpus)
    if config.backend in GRAPH_BACKENDS:
        yield "# One instance on all cores answers a lone request fastest; several share the cores. Raise count for"
        yield f"# many short requests at once, but keep instances x threads within the cores ({machine.cpus} here)."
    else:
        yield "# Each instance of a Python model is a process. Raise count for code that waits or runs for long."
    kind = f" kind: {_Group.Kind.Name(config.instance_group[0].kind)}" if not machine.gpus else ""
    yield f"instance_group [ {{ count: 1{kind} }} ]"
    key = thread_key(config.backend)
    if key:
        yield "# Slipway divides the cores among the instances. NVIDIA Triton gives each all cores unless set here:"
        yield f'# parameters {{ key: "{key}" value {{ string_value: "{threads}" }} }}'


def _scheduling(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    if not config.HasField("dynamic_batching"):
        return
    batching = config.dynamic_batching
    yield "# Requests that wait at the same time run together."
    yield "dynamic_batching {"
    if batching.preferred_batch_size:
        yield "  # Powers of two up to max_batch_size: a batch of one of these sizes does not wait for more."
        yield f"  preferred_batch_size: {_list(batching.preferred_batch_size)}"
    if batching.max_queue_delay_microseconds:
        yield "  # 100 us is for latency: nobody notices the wait. For throughput use 500 to 2000, to fill batches."
        yield f"  max_queue_delay_microseconds: {batching.max_queue_delay_microseconds}"
    yield "}"


def _policy(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    if config.model_transaction_policy.decoupled:
        yield "# The model may send any number of responses to a request."
        yield "model_transaction_policy { decoupled: true }"


def _steps(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    yield "# key: the model's name for the tensor, value: the ensemble's. Tensors with the same name are connected."
    yield "ensemble_scheduling {"
    for step in config.ensemble_scheduling.step:
        yield "  step {"
        yield f"    model_name: {_quoted(step.model_name)}"
        yield "    model_version: -1  # the latest"
        for field in ("input_map", "output_map"):
            for key, value in sorted(getattr(step, field).items()):
                yield f"    {field} {{ key: {_quoted(key)} value: {_quoted(value)} }}"
        yield "  }"
    yield "}"


def _list(values: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, values))} ]" if values else "[ ]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
