"""The routes of test-triton-pub as rows of a table: the models, their tensors, and where they differ from other routes.

The application of shern2/test-triton-pub has five endpoints: health, and one for each of these models. Its clients find
the same bodies, statuses and texts here, also while a model is not loaded. A model of the same name with other tensors
is a model like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway.datatypes import BY_NAME
from slipway.proxy.description import ProxiedModel, TensorDescription

FAILED_STATUS: Final = 500  # of every failure of the server


@dataclass(frozen=True, slots=True)
class DocumentRoute:
    """One model's route; `renamed` are outputs with other names in the body, and `switch` is a boolean field that
    selects another model with the same tensors."""

    model: ProxiedModel
    renamed: dict[str, str]
    switch: str = ""
    other_model: str = ""

    def fits(self, model: ProxiedModel) -> bool:
        """Return whether a model of the server has the tensors that the route was made for."""
        own = {each.name: each.datatype for each in self.model.inputs}
        theirs = {each.name: each.datatype for each in model.inputs}
        outputs = {each.name for each in model.outputs}
        return own == theirs and outputs >= {each.name for each in self.model.outputs} and not model.is_decoupled


def _route(
    name: str, inputs: str, outputs: str, renamed: dict[str, str] | None = None, *, rows: int = 16, **switch: str
) -> DocumentRoute:
    model = ProxiedModel(name, (), "", _tensors(inputs), _tensors(outputs), max_batch_size=rows)
    return DocumentRoute(model, renamed or {}, **switch)


def _tensors(text: str) -> tuple[TensorDescription, ...]:
    """Return the tensors in "NAME DATATYPE SIZE,SIZE; ..."."""
    rows = (row.split() for row in text.split(";"))
    return tuple(
        TensorDescription(name, BY_NAME[datatype], tuple(map(int, shape.split(",")))) for name, datatype, shape in rows
    )


_IDS: Final = "input_ids INT32 -1,-1; attention_mask INT32 -1,-1; token_type_ids INT32 -1,-1"
_TEXT: Final = "text BYTES -1,1"
_LOGITS: Final = "logits FP32 -1,3"

DOCUMENT_ROUTES: Final[dict[str, DocumentRoute]] = {
    route.model.name: route
    for route in (
        _route("simple_net", "x FP32 2", "output FP32 1", {"output": "prediction"}, rows=0),
        _route("finbert-model", _IDS, _LOGITS, switch="trt_model", other_model="finbert-trt-model"),
        _route("finbert-tokenizer", _TEXT, _IDS),
        _route("finbert", _TEXT, _LOGITS),
    )
}
