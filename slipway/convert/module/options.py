"""The options of `slipway convert-module`, as one frozen object, and the checks for mistakes and contradictions.

Pure. Names and defaults are those of nv-ingest's `trt_converters.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.convert.module.io_config import ModelIo
from slipway.errors import SlipwayError, invalid
from slipway.repository.names import check_model_name

DEFAULT_LENGTH: Final = 128
_BYTES: Final = re.compile(r"(\d+)(?:\s*<<\s*(\d+))?")
_WORKSPACE_LIMIT: Final = 1 << 50  # no machine has more; prevents computing `1 << 999999999`


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleOptions:
    """The field `x_y` is the option `--x-y`. `input_size` is (rows, length), where None means one row."""

    ckpt_path: Path
    engine_path: Path
    model_class_name: str
    model_name: str
    model_script_path: Path
    onnx_path: Path
    triton_repo: Path
    model_io_config: str
    device: str = "cpu"
    dynamic_batching: bool = False
    generate_onnx: bool = False
    generate_triton_config: bool = False
    generate_trt: bool = False
    input_size: tuple[int | None, int] = (None, DEFAULT_LENGTH)
    max_batch_size: int = 8
    max_queue_delay: int = 100
    memory_pool_limit: int = 1 << 30
    overwrite: bool = False
    preferred_batch_sizes: tuple[int, ...] = ()
    use_fp16: bool = False
    use_int8: bool = False
    triton_inputs: str = ""
    serve_name: str = ""
    allow_pickle: bool = False

    @property
    def rows(self) -> int:
        """Rows of the example input that is traced for the export."""
        return self.input_size[0] or 1

    @property
    def length(self) -> int:
        """The size of variable dimensions in example inputs."""
        return self.input_size[1]

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Preferred batch sizes: the given ones, or else the powers of two up to the maximum."""
        if self.preferred_batch_sizes:
            return tuple(sorted(set(self.preferred_batch_sizes)))
        return tuple(1 << power for power in range(self.max_batch_size.bit_length()))


def parse_bytes(text: str) -> int:
    """Parse a number of bytes, either an integer or a shift such as `1<<32`; raise ValueError for anything else."""
    found = _BYTES.fullmatch(text.strip().strip("\"'"))
    if found is None:
        raise ValueError(f"'{text}' is neither a number of bytes nor a shift such as 1<<30")
    number, shift = int(found[1]), int(found[2] or 0)
    if not 0 < number <= _WORKSPACE_LIMIT or shift > 50 or number << shift > _WORKSPACE_LIMIT:
        raise ValueError(f"'{text}' is not between 1 and 1<<50 bytes")
    return number << shift


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of sizes, which may be empty; raise ValueError for anything else."""
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    wrong = [word for word in words if not (word.isascii() and word.isdigit() and int(word) > 0)]
    if wrong:
        raise ValueError(f"'{wrong[0]}' in '{text}' is not a batch size; expected a list such as 1,2,4,8")
    return tuple(int(word) for word in words)


def check_options(options: ModuleOptions, io: ModelIo) -> None:
    """Raise INVALID_ARG with every mistake that can be found before any work is done."""
    problems = [*_stage_problems(options), *_number_problems(options, io), *_name_problems(options)]
    if problems:
        raise invalid("; ".join(problems))


def _stage_problems(options: ModuleOptions) -> Iterator[str]:
    if not (options.generate_onnx or options.generate_trt or options.generate_triton_config):
        yield "nothing to do: specify --generate-onnx, --generate-trt or --generate-triton-config"
    if options.serve_name and not options.generate_triton_config:
        yield "--serve-name writes a configuration; add --generate-triton-config"
    if options.device not in ("cpu", "cuda"):
        yield f"--device {options.device}: must be cpu or cuda"


def _number_problems(options: ModuleOptions, io: ModelIo) -> Iterator[str]:
    if options.max_batch_size < 1:
        yield f"--max-batch-size {options.max_batch_size}: must be 1 or more"
    if options.max_queue_delay < 0:
        yield f"--max-queue-delay {options.max_queue_delay}: must be 0 or more"
    over = [size for size in options.preferred_batch_sizes if size > options.max_batch_size]
    if over:
        yield f"--preferred-batch-sizes has {over[0]}, which exceeds --max-batch-size {options.max_batch_size}"
    rows, length = options.input_size
    if (rows is not None and rows < 1) or length < 1:
        yield f"--input-size {rows} {length}: both must be 1 or more"
    sizes = {size for tensor in io.inputs for size in tensor.shape}
    if length != DEFAULT_LENGTH and not sizes & {length, -1}:
        shapes = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in io.inputs)
        yield f"--input-size sets the length {length}, but no input in --model-io-config accepts it ({shapes})"


def _name_problems(options: ModuleOptions) -> Iterator[str]:
    for option, name in (("--model-name", options.model_name), ("--serve-name", options.serve_name)):
        try:
            if name or option == "--model-name":
                check_model_name(name)
        except SlipwayError as error:
            yield f"{option}: {error.message}"
    if options.serve_name in (f"{options.model_name}_onnx", f"{options.model_name}_trt"):
        yield f"--serve-name {options.serve_name} is the name of the model itself; choose another"
