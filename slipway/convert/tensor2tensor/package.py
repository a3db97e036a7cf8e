"""Write the model of an export: one Python model, with the export's files in its version directory.

One model takes texts, ids and serialized examples, instead of an ensemble of a tokenizer, an engine and a detokenizer:
a request passes one queue, and the rows of all three forms share a batch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.checkpoints.tensor2tensor.export import read_trained
from slipway.checkpoints.tensor2tensor.subwords import END_ID
from slipway.convert.configs import VERSION, model_input, python_config, write_config
from slipway.convert.models import model_source
from slipway.convert.options import CompileSettings
from slipway.convert.token_variants import COMPUTE_TYPES, SERVED_BY
from slipway.convert.variants import Variant
from slipway.core.signature import TensorSpec
from slipway.runtime.tensor2tensor_model import (
    ARGUMENTS,
    EXAMPLE,
    IDS,
    OUTPUT_IDS,
    OUTPUT_TEXT,
    SCORES,
    SETTINGS,
    TEXT,
)

_SAMPLE: Final = "Hello world"
_WARMUP: Final = "inputs"  # file of ids
MAX_BATCH_SIZE: Final = 32  # as many as tensor2tensor decodes together from a file
INPUTS: Final = (
    TensorSpec(TEXT, "BYTES", (1,)),
    TensorSpec(IDS, "INT32", (-1,)),
    TensorSpec(EXAMPLE, "BYTES", (1,)),
    *(TensorSpec(name, datatype, (1,)) for name, datatype in ARGUMENTS.items()),
)


def outputs(settings: DecodeHParams) -> tuple[TensorSpec, ...]:
    """Return the outputs: one hypothesis per row, or every beam if they are returned."""
    beams = settings.beam_size if settings.return_beams else 1
    ids = (-1, -1) if settings.return_beams else (-1,)
    return (
        TensorSpec(OUTPUT_TEXT, "BYTES", (-1 if beams > 1 else 1,)),
        TensorSpec(OUTPUT_IDS, "INT32", ids),
        TensorSpec(SCORES, "FP32", (-1 if beams > 1 else 1,)),
    )


def write_model(directory: Path, name: str, export: Path, variant: Variant, compilation: CompileSettings) -> None:
    """Write version 1 of the model and its config into `directory`, which must not exist."""
    model = read_trained(export)
    settings = model.settings
    config = python_config(name, (), outputs(settings), MAX_BATCH_SIZE, _parameters(settings, variant, compilation))
    for spec in INPUTS:
        config.input.append(model_input(spec))
        config.input[-1].optional = True
        config.input[-1].allow_ragged_batch = True  # requests of different lengths and forms share an execution
    config.dynamic_batching.SetInParent()
    version = directory / VERSION
    shutil.copytree(export, version, copy_function=_link)
    (version / "model.py").write_text(model_source("translate"), encoding="utf-8")
    _add_warmup(directory, config, [*model.vocabulary.encode(_SAMPLE), END_ID])
    write_config(directory, config)


def set_version(directory: Path, number: int) -> None:
    """Give version 1 of the model another number."""
    (directory / VERSION).rename(directory / str(number))


def _add_warmup(directory: Path, config: pb.ModelConfig, ids: Sequence[int]) -> None:
    """Let a server translate `ids` in few tokens before the first request; `slipway verify` sends the same."""
    given = pb.ModelWarmup.Input(data_type=pb.TYPE_INT32, dims=[len(ids)], input_data_file=_WARMUP)
    extra = pb.ModelWarmup.Input(data_type=pb.TYPE_INT32, dims=[1], zero_data=True)
    config.model_warmup.append(pb.ModelWarmup(name="sample", batch_size=1, inputs={IDS: given, "extra_length": extra}))
    (directory / "warmup").mkdir()
    (directory / "warmup" / _WARMUP).write_bytes(np.array(ids, "<i4").tobytes())


def _parameters(settings: DecodeHParams, variant: Variant, compilation: CompileSettings) -> dict[str, str]:
    values = {name: getattr(settings, name) for name in SETTINGS}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
    engine = {"ENGINE": SERVED_BY[variant.engine], "COMPUTE_TYPE": COMPUTE_TYPES[variant.precision]}
    return engine | texts | dict(compilation.parameters)


def _link(source: str, target: str) -> None:
    """Let the candidates, of which one remains, share the files of weights."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
