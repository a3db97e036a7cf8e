"""The linter finds what the server refuses or ignores, and the server refuses what the linter reports as an error."""

from __future__ import annotations

import asyncio
import logging

import pytest
import torch

from slipway.config.measured import BATCHING_MEASURED
from slipway.lint.check import check_repository
from slipway.lint.finding import Severity
from slipway.machine import Machine
from tests.kits import onnx_graphs as graphs
from tests.kits.engine import serving
from tests.kits.lint_cases import (
    BATCHES,
    CASES,
    IGNORANT,
    IO,
    ONNX,
    PASSED_OVER,
    add,
    chain,
    ensemble,
    labels,
    model,
    onnx_model,
    python_model,
    step,
)
from tests.kits.torch_modules import SimpleNet, export, script

MACHINE = Machine(cpus=4, gpus=0)


def parameter(key, value):
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def python(config):
    return lambda repository: python_model(repository, IGNORANT, config)


def onnx(line):
    return lambda repository: onnx_model(repository, f"{ONNX}{line}\n")


def torch_model(line):
    io = 'input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }\noutput { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }\n'

    def write(repository):
        script(
            model(repository, f'backend: "pytorch"\nmax_batch_size: 4\ndynamic_batching {{ }}\n{io}{line}\n'),
            SimpleNet(),
        )

    return write


CACHED = "response_cache { enable: true }\n"
DECOUPLED = "model_transaction_policy { decoupled: true }\n"
ACCELERATORS = "optimization {{ execution_accelerators {{ {} }} }}"
ACCELERATOR = 'optimization {{ execution_accelerators {{ cpu_execution_accelerator [ {{ name: "openvino" {} }} ] }} }}'
MORE = {
    "python, cached, limited, environment": python(PASSED_OVER),
    "cached": lambda repository: model(repository, f"{BATCHES}{CACHED}"),
    "cached ensemble": lambda repository: chain(repository, extra=CACHED),
    "cached ensemble of a decoupled model": lambda repository: chain(repository, f"{BATCHES}{DECOUPLED}", extra=CACHED),
    "cached ensemble around an ensemble of a decoupled model": lambda repository: (
        chain(repository, f"{BATCHES}{DECOUPLED}"),
        ensemble(repository, step("e", {"INPUT0": "INPUT0"}, {"OUTPUT0": "OUTPUT0"}), name="f", extra=CACHED),
    ),
    "python, sequence of steps": python(f'backend: "python"\n{IO}sequence_batching {{ iterative_sequence: true }}\n'),
    "python, sequences": python(
        f'backend: "python"\nmax_batch_size: 8\n{IO}sequence_batching {{ oldest {{ max_candidate_sequences: 8 }} '
        'control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ] }\n'
    ),
    "python, a state without its file": python(
        f'backend: "python"\nmax_batch_size: 8\n{IO}sequence_batching {{ state {{ input_name: "i" output_name: "o" '
        'data_type: TYPE_FP32 dims: 1 initial_state { name: "s" data_type: TYPE_FP32 dims: 1 data_file: "no" } } }\n'
    ),
    "python, bad mode": python(f'backend: "python"\n{IO}{parameter("EXECUTION_MODE", "fibre")}'),
    "python, not a .py": python(f'backend: "python"\n{IO}default_model_filename: "model.txt"\n'),
    "unknown backend, no file": lambda repository: model(repository, f'backend: "tensorflow"\n{IO}'),
    "onnx, bad execution mode": onnx(parameter("execution_mode", "7")),
    "onnx, threads that are not a number": onnx(parameter("intra_op_thread_count", "many")),
    "onnx, shapes to prepare": onnx(parameter("PREPARED_TOKENS", "64")),
    "onnx, shapes to prepare that are not a number": onnx(parameter("PREPARED_TOKENS", "all")),
    "onnx, GPU memory": onnx(parameter("gpu_mem_limit", "1")),
    "onnx, accelerator of GPUs": onnx(ACCELERATORS.format('gpu_execution_accelerator [ { name: "t" } ]')),
    "onnx, unknown accelerator": onnx(ACCELERATORS.format('cpu_execution_accelerator [ { name: "t" } ]')),
    "onnx, bad precision": onnx(ACCELERATOR.format('parameters { key: "precision" value: "FP4" }')),
    "onnx, unknown word of an accelerator": onnx(ACCELERATOR.format('parameters { key: "speed" value: "9" }')),
    "onnx, missing operators": onnx('model_operations { op_library_filename: "none.so" }'),
    "onnx, folded": lambda repository: graphs.folded(model(repository, None)),
    "onnx, detections": lambda repository: graphs.detections(model(repository, None)),
    "torch, ignored words": torch_model(parameter("ENABLE_JIT_EXECUTOR", "true")),
    "torch, bad number": torch_model(parameter("NUM_THREADS", "many")),
    "torch, script": torch_model('runtime: "model.py"'),
    "torch, exported without a config": lambda repository: export(
        model(repository, None), SimpleNet(), (torch.zeros(3, 2),), rows=True
    ),
    "identity, bad delay": add(parameter("execute_delay_ms", "soon")),
    "labels that fit": lambda repository: labels(repository, "a\nb\nc\nd\n"),
    "good": lambda repository: model(repository, BATCHES),
}

# Errors of the linter that a server silently repairs or serves in part: the config does not have its plain meaning.
REPAIRED = {
    "label-count",  # responses lack labels if there are too few
    "instance-count",  # one instance runs if none is requested
    "directory-name-blank",  # the directory is skipped
    "batching-without-max-batch-size",  # requests run one by one
    "no-models",  # a server may start empty
}
# The linter does not run the code of Python models; these are mistakes in it.
CODE = ("does not implement `execute`", "has no attribute 'TritonPythonModel'")
# Log lines of a load that are not findings, because they do not concern a setting.
NOT_FINDINGS = (
    "autofilled max_batch_size",
    "skipping model configuration auto-complete",
    "do not follow the <name>__",
    "runs without batching",
)


def loaded(repository, caplog):
    """Return the models that a server on the repository refuses, and the warnings of the loads of the others."""

    async def scenario():
        with caplog.at_level(logging.WARNING, "slipway"):
            async with serving(repository) as engine:
                return dict(engine.failed)

    failed = asyncio.run(scenario())
    return failed, [each.getMessage() for each in caplog.records if each.name.startswith("slipway")]


@pytest.mark.parametrize("write", [*CASES.values(), *MORE.values()], ids=[*CASES, *MORE])
def test_the_linter_and_a_load_agree(tmp_path, caplog, write):
    repository = tmp_path / "models"
    repository.mkdir()
    write(repository)
    findings = check_repository(repository, MACHINE).findings
    caplog.clear()
    failed, warnings = loaded(repository, caplog)
    refused = {name for name, failure in failed.items() if (repository / name).is_dir() and not _is_code(failure)}
    errors = {each.model: each for each in findings if each.severity is Severity.ERROR and each.rule not in REPAIRED}
    assert errors.keys() == refused, (findings, failed)
    spoken = [text for text in warnings if not any(words in text for words in NOT_FINDINGS)]
    assert bool(spoken) <= bool(findings), spoken


def _is_code(failure):
    return any(words in failure.detail for words in CODE)


def test_what_convert_measured_the_linter_does_not_advise_against(tmp_path):
    takes_batches = ONNX.replace("dynamic_batching { }\n", "")
    onnx_model(tmp_path, takes_batches)
    assert [each.rule for each in check_repository(tmp_path, MACHINE).findings] == ["no-dynamic-batching"]
    onnx_model(tmp_path, takes_batches + parameter(BATCHING_MEASURED, "batches serve 0.98 times the rows"))
    assert check_repository(tmp_path, MACHINE).findings == ()


@pytest.mark.parametrize("name", ["tensorflow", "trition"])
def test_a_backend_that_is_not_there_is_found_before_the_file_that_it_would_open(tmp_path, name):
    model(tmp_path, f'backend: "{name}"\n{IO}')
    assert [each.rule for each in check_repository(tmp_path, MACHINE).findings] == ["backend-unknown"]
