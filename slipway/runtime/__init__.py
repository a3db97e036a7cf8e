"""The runtime of the models that `slipway convert` writes, for Slipway and NVIDIA Triton: a stable, public interface.

These names appear in the `model.py` files of users' repositories, so they keep their location and meaning; the modules
that implement them may move. A `model.py` may import only from here:

- `GenerationModel(directory, parameters, name=...)`: a checkpoint and its engine. `run` executes requests, each of
  which is a mapping from names to arrays and an `AnswerSink`; `description` names the engine; `close` frees the
  weights. Models in one process that use the same checkpoint with the same options share one engine.
- `Tensor2TensorModel(directory, parameters, name=...)`: the same for a model of tensor2tensor, which takes texts, ids
  or serialized examples.
- `CompletionModel(directory, parameters, name=...)`: the same as OpenAI's API has it: each row is an order in JSON, and
  a `CompletionSink` receives its text in events.
- `AnswerSink`: the four methods through which a model receives tokens and results.
- `TextEncoder(tokenizer)`: encodes texts of any length in bounded time.
- `TextPieces(tokenizer, cleaned=...)`: turns tokens into pieces of text with whole characters.
- `SourceLanguage(tokenizer, parameters)`: the source language that a request selects, as a token of the tokenizer.
- `parameter_arrays(text)`: a request's parameters (JSON) as arrays by name, which `run` takes together with the inputs.
- `open_page(data)` and `page_batch(pages)`: image files to pages, and pages to the input of a page-element detector.
- `page_elements(output, sizes, rules)`, `decoded_grid(output)` and `DetectionRules`: a detector's output to elements.
- `SlipwayError(code, message)` and `Code`: the reason of a failure, with the names of Triton's error codes.

Importing this module does not import the implementations: each is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from slipway.documents.detection import DetectionRules, decoded_grid, page_elements
    from slipway.documents.letterbox import page_batch
    from slipway.documents.pages import open_page
    from slipway.errors import Code, SlipwayError
    from slipway.runtime.arguments import parameter_arrays
    from slipway.runtime.completion_model import CompletionModel, CompletionSink
    from slipway.runtime.engine_model import AnswerSink
    from slipway.runtime.generation_model import GenerationModel
    from slipway.runtime.pieces import TextPieces
    from slipway.runtime.source_language import SourceLanguage
    from slipway.runtime.tensor2tensor_model import Tensor2TensorModel
    from slipway.runtime.text_encoder import TextEncoder

__all__ = [
    "AnswerSink",
    "Code",
    "CompletionModel",
    "CompletionSink",
    "DetectionRules",
    "GenerationModel",
    "SlipwayError",
    "SourceLanguage",
    "Tensor2TensorModel",
    "TextEncoder",
    "TextPieces",
    "decoded_grid",
    "open_page",
    "page_batch",
    "page_elements",
    "parameter_arrays",
]

_HOMES: Final = {
    "AnswerSink": "slipway.runtime.engine_model",
    "Code": "slipway.errors",
    "CompletionModel": "slipway.runtime.completion_model",
    "CompletionSink": "slipway.runtime.completion_model",
    "DetectionRules": "slipway.documents.detection",
    "GenerationModel": "slipway.runtime.generation_model",
    "SlipwayError": "slipway.errors",
    "SourceLanguage": "slipway.runtime.source_language",
    "Tensor2TensorModel": "slipway.runtime.tensor2tensor_model",
    "TextEncoder": "slipway.runtime.text_encoder",
    "TextPieces": "slipway.runtime.pieces",
    "decoded_grid": "slipway.documents.detection",
    "open_page": "slipway.documents.pages",
    "page_batch": "slipway.documents.letterbox",
    "page_elements": "slipway.documents.detection",
    "parameter_arrays": "slipway.runtime.arguments",
}


def __getattr__(name: str) -> Any:
    """Import and return one of the public names."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
