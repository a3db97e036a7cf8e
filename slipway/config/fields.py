"""Every field of ModelConfig (config.pbtxt), with what this server does about it.

The one table of fields: `unoffered.py` reports by it, for the server and `slipway check`, and docs/triton.md is made
from it. What a row that does not work says also holds for the fields below it, so a feature that is added changes
one row. A test walks ModelConfig and holds that no field is left out. Source of the fields: `model_config.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.support import Support
from slipway.config.walk import known_fields


@dataclass(frozen=True, slots=True)
class FieldRow:
    """What the server does about one field.

    `note` says what is special about a field that works, why one has no effect, and what a refused one is about. With
    `backends`, the field works only with these, or they report it themselves; with any other it has no effect. It is
    `validate.py` that refuses, in Triton's words. A `quiet` row is not reported, because every completed configuration
    has the field.
    """

    support: Support
    note: str = ""
    backends: tuple[str, ...] = ()
    quiet: bool = False


def _works(note: str = "", *backends: str) -> FieldRow:
    return FieldRow(Support.WORKS, note, backends)


def _ignored(note: str, *backends: str, quiet: bool = False) -> FieldRow:
    return FieldRow(Support.WITHOUT_EFFECT, note, backends, quiet=quiet)


def _refused(note: str) -> FieldRow:
    return FieldRow(Support.REFUSED, note)


_YES: Final = _works()
_NO_GPU: Final = "tensors stay in the memory of the CPU"
_TENSORRT: Final = "Triton accepts it only for TensorRT"
_LIMITED: Final = "with `--rate-limit=execution_count`"
_STACKED: Final = "a model gets the requests of a batch one by one"
_STACKING: Final = ("onnxruntime", "openvino", "pytorch", "tensorrt")

FIELDS: Final[dict[str, FieldRow]] = {
    "name": _works("the directory's name, or empty"),
    "platform": _works("the older way to name the backend"),
    "backend": _YES,
    "runtime": _works("backends are not shared libraries, so there is nothing to choose", "pytorch"),
    "version_policy": _YES,
    "version_policy.latest": _YES,
    "version_policy.latest.num_versions": _YES,
    "version_policy.all": _YES,
    "version_policy.specific": _YES,
    "version_policy.specific.versions": _YES,
    "max_batch_size": _YES,
    "input": _YES,
    "input.name": _YES,
    "input.data_type": _YES,
    "input.format": _works("checked to have 3 dims; otherwise a hint, as in Triton"),
    "input.dims": _YES,
    "input.reshape": _YES,
    "input.reshape.shape": _YES,
    "input.is_shape_tensor": _refused(_TENSORRT),
    "input.allow_ragged_batch": _YES,
    "input.optional": _YES,
    "input.is_non_linear_format_io": _refused(_TENSORRT),
    "output": _YES,
    "output.name": _YES,
    "output.data_type": _YES,
    "output.dims": _YES,
    "output.reshape": _YES,
    "output.reshape.shape": _YES,
    "output.label_filename": _YES,
    "output.is_shape_tensor": _refused(_TENSORRT),
    "output.is_non_linear_format_io": _refused(_TENSORRT),
    "batch_input": _works(_STACKED, *_STACKING),
    "batch_input.kind": _YES,
    "batch_input.target_name": _YES,
    "batch_input.data_type": _YES,
    "batch_input.source_input": _YES,
    "batch_output": _works(_STACKED, *_STACKING),
    "batch_output.target_name": _YES,
    "batch_output.kind": _YES,
    "batch_output.source_input": _YES,
    "optimization": _YES,
    "optimization.graph": _YES,
    "optimization.graph.level": _works("other libraries choose the level themselves", "onnxruntime"),
    "optimization.priority": _ignored("GPU streams have priorities, threads of the CPU do not"),
    "optimization.cuda": _ignored("CUDA graphs and events are not used", "onnxruntime"),
    "optimization.execution_accelerators": _works("the library runs the model itself", "onnxruntime", "openvino"),
    "optimization.execution_accelerators.gpu_execution_accelerator": _YES,
    "optimization.execution_accelerators.gpu_execution_accelerator.name": _YES,
    "optimization.execution_accelerators.gpu_execution_accelerator.parameters": _YES,
    "optimization.execution_accelerators.cpu_execution_accelerator": _YES,
    "optimization.execution_accelerators.cpu_execution_accelerator.name": _YES,
    "optimization.execution_accelerators.cpu_execution_accelerator.parameters": _YES,
    "optimization.input_pinned_memory": _ignored(_NO_GPU, quiet=True),
    "optimization.output_pinned_memory": _ignored(_NO_GPU, quiet=True),
    "optimization.gather_kernel_buffer_threshold": _ignored(_NO_GPU),
    "optimization.eager_batching": _ignored("a batch may grow until an instance is free for it"),
    "dynamic_batching": _YES,
    "dynamic_batching.preferred_batch_size": _YES,
    "dynamic_batching.max_queue_delay_microseconds": _YES,
    "dynamic_batching.preserve_ordering": _YES,
    "dynamic_batching.priority_levels": _YES,
    "dynamic_batching.default_priority_level": _YES,
    "dynamic_batching.default_queue_policy": _YES,
    "dynamic_batching.default_queue_policy.timeout_action": _YES,
    "dynamic_batching.default_queue_policy.default_timeout_microseconds": _YES,
    "dynamic_batching.default_queue_policy.allow_timeout_override": _YES,
    "dynamic_batching.default_queue_policy.max_queue_size": _YES,
    "dynamic_batching.priority_queue_policy": _YES,
    "dynamic_batching.priority_queue_policy.timeout_action": _YES,
    "dynamic_batching.priority_queue_policy.default_timeout_microseconds": _YES,
    "dynamic_batching.priority_queue_policy.allow_timeout_override": _YES,
    "dynamic_batching.priority_queue_policy.max_queue_size": _YES,
    "sequence_batching": _YES,
    "sequence_batching.direct": _YES,
    "sequence_batching.direct.max_queue_delay_microseconds": _YES,
    "sequence_batching.direct.minimum_slot_utilization": _YES,
    "sequence_batching.oldest": _YES,
    "sequence_batching.oldest.max_candidate_sequences": _YES,
    "sequence_batching.oldest.preferred_batch_size": _YES,
    "sequence_batching.oldest.max_queue_delay_microseconds": _YES,
    "sequence_batching.oldest.preserve_ordering": _YES,
    "sequence_batching.max_sequence_idle_microseconds": _YES,
    "sequence_batching.control_input": _YES,
    "sequence_batching.control_input.name": _YES,
    "sequence_batching.control_input.control": _YES,
    "sequence_batching.control_input.control.kind": _YES,
    "sequence_batching.control_input.control.int32_false_true": _YES,
    "sequence_batching.control_input.control.fp32_false_true": _YES,
    "sequence_batching.control_input.control.bool_false_true": _YES,
    "sequence_batching.control_input.control.data_type": _YES,
    "sequence_batching.state": _YES,
    "sequence_batching.state.input_name": _YES,
    "sequence_batching.state.output_name": _YES,
    "sequence_batching.state.data_type": _YES,
    "sequence_batching.state.dims": _YES,
    "sequence_batching.state.initial_state": _YES,
    "sequence_batching.state.initial_state.data_type": _YES,
    "sequence_batching.state.initial_state.dims": _YES,
    "sequence_batching.state.initial_state.zero_data": _YES,
    "sequence_batching.state.initial_state.data_file": _YES,
    "sequence_batching.state.initial_state.name": _YES,
    "sequence_batching.state.use_same_buffer_for_input_output": _ignored(_NO_GPU),
    "sequence_batching.state.use_growable_memory": _ignored(_NO_GPU),
    "sequence_batching.iterative_sequence": _YES,
    "ensemble_scheduling": _YES,
    "ensemble_scheduling.step": _YES,
    "ensemble_scheduling.step.model_name": _YES,
    "ensemble_scheduling.step.model_version": _YES,
    "ensemble_scheduling.step.input_map": _YES,
    "ensemble_scheduling.step.output_map": _YES,
    "ensemble_scheduling.step.model_namespace": _ignored("the server sets it itself when models have namespaces"),
    "ensemble_scheduling.max_inflight_requests": _works("a Python model that streams into a full step waits"),
    "instance_group": _YES,
    "instance_group.name": _YES,
    "instance_group.kind": _works("`KIND_GPU` runs on the CPU of a machine without a GPU, with a warning"),
    "instance_group.count": _YES,
    "instance_group.rate_limiter": _works(_LIMITED),
    "instance_group.rate_limiter.resources": _works(_LIMITED),
    "instance_group.rate_limiter.resources.name": _works(_LIMITED),
    "instance_group.rate_limiter.resources.global": _works(_LIMITED),
    "instance_group.rate_limiter.resources.count": _works(_LIMITED),
    "instance_group.rate_limiter.priority": _works(_LIMITED),
    "instance_group.gpus": _works("on a machine with GPUs"),
    "instance_group.secondary_devices": _ignored("secondary devices, such as NVIDIA's DLA, are not used"),
    "instance_group.profile": _refused(_TENSORRT),
    "instance_group.passive": _works("nothing is loaded for the group"),
    "instance_group.host_policy": _works("on a server that is started with `--host-policy`"),
    "default_model_filename": _YES,
    "cc_model_filenames": _ignored("the same file is used on every device"),
    "metric_tags": _YES,
    "parameters": _works("each backend reads its own keys"),
    "parameters.string_value": _YES,
    "model_warmup": _YES,
    "model_warmup.name": _YES,
    "model_warmup.batch_size": _YES,
    "model_warmup.inputs": _YES,
    "model_warmup.inputs.data_type": _YES,
    "model_warmup.inputs.dims": _YES,
    "model_warmup.inputs.zero_data": _YES,
    "model_warmup.inputs.random_data": _works("integers are 0 or 1, since they are often token ids"),
    "model_warmup.inputs.input_data_file": _YES,
    "model_warmup.count": _YES,
    "model_operations": _YES,
    "model_operations.op_library_filename": _works("only ONNX models have custom operators", "onnxruntime"),
    "model_transaction_policy": _YES,
    "model_transaction_policy.decoupled": _YES,
    "model_repository_agents": _YES,
    "model_repository_agents.agents": _works("only `checksum`; a configuration that names another agent is refused"),
    "model_repository_agents.agents.name": _YES,
    "model_repository_agents.agents.parameters": _works("`MD5:path` of a file in the model, and its digest"),
    "response_cache": _works("with `--cache-config`"),
    "response_cache.enable": _works("with `--cache-config`"),
    "model_metrics": _YES,
    "model_metrics.metric_control": _YES,
    "model_metrics.metric_control.metric_identifier": _YES,
    "model_metrics.metric_control.metric_identifier.family": _works(
        "every histogram of latencies; another family is reported and has no effect"
    ),
    "model_metrics.metric_control.histogram_options": _YES,
    "model_metrics.metric_control.histogram_options.buckets": _YES,
}

_UNKNOWN: Final = _ignored("this version does not know the field")


def field_row(name: str) -> FieldRow:
    """Return the row of a field, or that of the nearest field above it that does not work."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        above = FIELDS.get(".".join(parts[:end]))
        if above is not None and above.support is not Support.WORKS:
            return above
    return FIELDS.get(name, _UNKNOWN)


def all_fields() -> Iterator[tuple[str, FieldRow]]:
    """Yield every field of ModelConfig with its row, in the order of `model_config.proto`."""
    for name in known_fields(model_config_pb2.ModelConfig.DESCRIPTOR):
        yield name, field_row(name)
