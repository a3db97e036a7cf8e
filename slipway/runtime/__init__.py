"""What the models that `slipway convert` writes run on, in Slipway and in NVIDIA Triton: a stable, public interface.

These names stand in the `model.py` of users' repositories, so they stay where they are and keep their meaning; the
modules behind them may move. A `model.py` imports from here and from nowhere else in Slipway:

- `GenerationModel(directory, parameters, name=...)`: a checkpoint and its engine; `run` answers requests, each a
  mapping of arrays by name and an `AnswerSink`; `description` says what computes; `close` frees the weights. Models of
  one process that name the same checkpoint share one engine.
- `AnswerSink`: the four methods that the model defines to hear tokens and the answer.
- `TextPieces(tokenizer, cleaned=...)`: text that grows by tokens, in pieces of whole characters.
- `SourceLanguage(tokenizer, parameters)`: the language that a request says its text is in, as a token of it.
- `parameter_arrays(text)`: a request's parameters (JSON) as arrays by name, to be given to `run` beside its inputs.
- `SlipwayError(code, message)` and `Code`: why something failed, with the names of Triton's error codes.

Importing this module imports none of what stands behind the names: each is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from slipway.errors import Code, SlipwayError
    from slipway.runtime.arguments import parameter_arrays
    from slipway.runtime.generation_model import AnswerSink, GenerationModel
    from slipway.runtime.pieces import TextPieces
    from slipway.runtime.source_language import SourceLanguage

__all__ = ["AnswerSink", "Code", "GenerationModel", "SlipwayError", "SourceLanguage", "TextPieces", "parameter_arrays"]

_HOMES: Final = {
    "AnswerSink": "slipway.runtime.generation_model",
    "Code": "slipway.errors",
    "GenerationModel": "slipway.runtime.generation_model",
    "SlipwayError": "slipway.errors",
    "SourceLanguage": "slipway.runtime.source_language",
    "TextPieces": "slipway.runtime.pieces",
    "parameter_arrays": "slipway.runtime.arguments",
}


def __getattr__(name: str) -> Any:
    """Return one of the public names, imported now."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
