"""Read batching by length from config.pbtxt: `parameters` keys that Triton ignores, turned into a `PaddingRule`.

LENGTH_BATCHING_PAD_VALUES turns it on and specifies the pad value of each input with variable dims. All problems are
found at once; each names the key, its value and the model. Looks only at this one configuration.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.config.numbers import whole_number
from slipway.config.ragged import has_ragged_batches
from slipway.core.padding import PaddedInput, PaddingRule, Trim
from slipway.datatypes import BY_CONFIG_NAME, DataType
from slipway.errors import refused
from slipway.problems import Named, Problem, Rule

PAD_VALUES: Final = "LENGTH_BATCHING_PAD_VALUES"  # "input_ids=1 attention_mask=0"
TRIM_OUTPUTS: Final = "LENGTH_BATCHING_TRIM_OUTPUTS"  # "last_hidden_state.0=input_ids.0", dims without the batch
MAX_PADDING_SHARE: Final = "LENGTH_BATCHING_MAX_PADDING_SHARE"
MAX_TOKENS: Final = "LENGTH_BATCHING_MAX_TOKENS"
LENGTH_STEP: Final = "LENGTH_BATCHING_LENGTH_STEP"  # lengths are padded to a multiple of it
DEFAULT_SHARE: Final = 0.1

_PREFIX: Final = "LENGTH_BATCHING_"
MAX_STEP: Final = 1024
_KEYS: Final = (PAD_VALUES, TRIM_OUTPUTS, MAX_PADDING_SHARE, MAX_TOKENS, LENGTH_STEP)


def padding_problems(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return what is wrong with the length-batching keys of `config`."""
    reader = _Reader(config)
    reader.rule()
    return reader.problems


def padding_rule(config: model_config_pb2.ModelConfig) -> PaddingRule | None:
    """Return the rule in the keys of `config`, None without them; raise INVALID_ARG with all problems."""
    reader = _Reader(config)
    rule = reader.rule()
    if reader.problems:
        raise refused(*reader.problems)
    return rule


class _Reader:
    """Reads the keys of one model and collects their problems."""

    def __init__(self, config: model_config_pb2.ModelConfig) -> None:
        self.problems: list[Problem] = []
        self._config = config
        self._values = {
            key: value.string_value.strip() for key, value in config.parameters.items() if key.startswith(_PREFIX)
        }
        self._inputs: dict[str, Any] = {tensor.name: tensor for tensor in config.input}
        self._outputs: dict[str, Any] = {tensor.name: tensor for tensor in config.output}

    def rule(self) -> PaddingRule | None:
        """Return the rule, None if it is off or has problems."""
        for key in self._values:
            if key not in _KEYS:
                self._refuse(key, f"there is no such key; keys: {', '.join(_KEYS)}")
            elif PAD_VALUES not in self._values:
                self._refuse(key, f"it has no effect without {PAD_VALUES}")
        if PAD_VALUES not in self._values:
            return None
        self._check_batching()
        inputs, trims, share, tokens = self._padded_inputs(), self._trims(), self._share(), self._tokens()
        step = self._step()
        return None if self.problems else PaddingRule(inputs, trims, share, tokens, step)

    def _refuse(self, key: str, reason: str) -> None:
        text = f"parameter '{key}' of model '{self._config.name}' is '{self._values[key]}', but {reason}"
        fix = (
            "correct the value, or remove every LENGTH_BATCHING_ key: requests of different lengths then run separately"
        )
        self.problems.append(Problem(Rule.LENGTH_BATCHING, text, ("parameters", Named(key, "key"), "value"), fix))

    def _check_batching(self) -> None:
        size = self._config.max_batch_size
        if size < 2:
            self._refuse(PAD_VALUES, f"batching by length needs max_batch_size > 1, not {size}")
        if not self._config.HasField("dynamic_batching"):
            self._refuse(PAD_VALUES, "batching by length needs dynamic_batching { }, which is not set")
        if has_ragged_batches(self._config):
            self._refuse(PAD_VALUES, "padding excludes allow_ragged_batch, batch_input and batch_output")

    def _padded_inputs(self) -> tuple[PaddedInput, ...]:
        padded: dict[str, PaddedInput] = {}
        for name, text in self._pairs(PAD_VALUES, "name=value"):
            tensor = self._inputs.get(name)
            if tensor is None:
                self._refuse(PAD_VALUES, f"there is no input '{name}'; inputs: {_quoted(self._inputs)}")
            elif name in padded:
                self._refuse(PAD_VALUES, f"it names input '{name}' twice")
            elif -1 not in tensor.dims:
                self._refuse(PAD_VALUES, f"input '{name}' has no variable dims to pad ({list(tensor.dims)})")
            else:
                axes = tuple(axis for axis, size in enumerate(tensor.dims, 1) if size == -1)
                padded[name] = PaddedInput(name, self._pad_value(tensor, text), axes)
        missing = [name for name, tensor in self._inputs.items() if -1 in tensor.dims and name not in padded]
        if missing and not self.problems:
            self._refuse(PAD_VALUES, f"it must name every input with variable dims and lacks {_quoted(missing)}")
        elif not padded and not self.problems:
            self._refuse(PAD_VALUES, "it names no input, and no input has variable dims: remove the key")
        return tuple(padded.values())

    def _pad_value(self, tensor: Any, text: str) -> float:
        datatype = BY_CONFIG_NAME.get(model_config_pb2.DataType.Name(tensor.data_type))
        if datatype is None:  # TYPE_INVALID is reported where tensors are checked
            return 0
        value = _number(text, datatype)
        if datatype.name == "BYTES":
            self._refuse(PAD_VALUES, f"input '{tensor.name}' is TYPE_STRING, which cannot be padded")
        elif value is None:
            self._refuse(PAD_VALUES, f"'{text}' is not a {datatype.config_name} value for input '{tensor.name}'")
        return value or 0

    def _trims(self) -> tuple[Trim, ...]:
        trims: list[Trim] = []
        for left, right in self._pairs(TRIM_OUTPUTS, "output.dim=input.dim"):
            output = self._variable_dim(left, "output", self._outputs)
            source = self._variable_dim(right, "input", self._inputs)
            if output is None or source is None:
                continue
            if any((trim.output, trim.axis) == output for trim in trims):
                self._refuse(TRIM_OUTPUTS, f"it names '{left}' twice")
            trims.append(Trim(*output, *source))
        return tuple(trims)

    def _variable_dim(self, text: str, kind: str, tensors: dict[str, Any]) -> tuple[str, int] | None:
        """Return the tensor and axis that "name.dim" means; axes count from the batch axis."""
        name, _, digits = text.rpartition(".")
        number = whole_number(digits)
        tensor = tensors.get(name)
        if tensor is None:
            self._refuse(TRIM_OUTPUTS, f"'{text}' is not a dim of an {kind}; expected {kind}.dim of {_quoted(tensors)}")
        elif number is None or number >= len(tensor.dims) or tensor.dims[number] != -1:
            self._refuse(TRIM_OUTPUTS, f"'{text}' is not a variable dim of {kind} '{name}' ({list(tensor.dims)})")
        else:
            return name, number + 1
        return None

    def _share(self) -> float:
        text = self._values.get(MAX_PADDING_SHARE, str(DEFAULT_SHARE))
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            self._refuse(MAX_PADDING_SHARE, "it must be a number from 0 to 1")
        return share

    def _tokens(self) -> int:
        tokens = whole_number(self._values.get(MAX_TOKENS, "0"))
        if tokens is None:
            self._refuse(MAX_TOKENS, "it must be a whole number, 0 for no limit")
        return tokens or 0

    def _step(self) -> int:
        step = whole_number(self._values.get(LENGTH_STEP, "1"))
        if step is None or not 1 <= step <= MAX_STEP:
            self._refuse(LENGTH_STEP, f"it must be a whole number from 1 to {MAX_STEP}")
            return 1
        return step

    def _pairs(self, key: str, form: str) -> list[tuple[str, str]]:
        pairs = []
        for entry in self._values.get(key, "").split():
            left, equals, right = entry.rpartition("=")
            if equals and left and right:
                pairs.append((left, right))
            else:
                self._refuse(key, f"'{entry}' does not have the form {form}")
        return pairs


def _number(text: str, datatype: DataType) -> float | None:
    """Return `text` as a value of `datatype`, None if it is not one."""
    dtype = datatype.numpy
    try:
        if dtype.kind in "iub":
            value = int(text)
            low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            return value if low <= value <= high else None
        number = float(text)
        with np.errstate(over="ignore"):
            overflows = math.isfinite(number) and not math.isfinite(float(np.asarray(number).astype(dtype)))
    except ValueError:
        return None
    return None if math.isnan(number) or overflows else number


def _quoted(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
