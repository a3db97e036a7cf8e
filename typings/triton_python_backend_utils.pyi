# What `slipway/convert/models/` may use of the module that Triton makes for its models, typed as Slipway makes it.

from typing import Any

from slipway.backends.python.errors import TritonError as TritonError
from slipway.backends.python.errors import TritonModelException as TritonModelException
from slipway.backends.python.request import InferenceRequest as InferenceRequest
from slipway.backends.python.response import InferenceResponse as InferenceResponse
from slipway.backends.python.tensor import ModelTensor

Tensor = ModelTensor
TRITONSERVER_RESPONSE_COMPLETE_FINAL: int

# None where the request lacks the input, which happens to optional ones only: `Any` leaves the check to the model.
def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | Any: ...
