"""Token ids to token ids: the model itself, one engine for all requests.

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton 24.04 or newer (there `pip install
"slipway[generate]"` into the Python of its models). The checkpoint lies beside this file; the config's parameters say
which engine runs it and hold the default of every optional input. Requests of one batch may have any lengths and
settings, and each is answered when its own rows are done.
"""

import json
import logging
from pathlib import Path

import triton_python_backend_utils as pb_utils
from slipway.convert.generation.served import GenerationModel
from slipway.errors import Code, SlipwayError

CODES = {  # names in pb_utils.TritonError, which NVIDIA Triton adds after it has imported this file
    Code.INVALID_ARG: "INVALID_ARG",
    Code.UNSUPPORTED: "UNSUPPORTED",
    Code.UNAVAILABLE: "UNAVAILABLE",
    Code.CANCELLED: "CANCELLED",
}
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """One instance; all instances in one process share the weights."""

    def initialize(self, args):
        """Open the checkpoint that lies beside this file."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.names = [each["name"] for each in config["input"]]
        directory = Path(args["model_repository"], args["model_version"])
        try:
            self.model = GenerationModel(directory, parameters, name=args["model_name"])
        except SlipwayError as error:
            raise pb_utils.TritonModelException(error.message)
        logging.getLogger("slipway").info("%s: %s", args["model_name"], self.model.description)

    def execute(self, requests):
        """Generate for all requests together."""
        self.model.run([(self.arrays(request), Reply(request)) for request in requests])
        return [None] * len(requests)

    def arrays(self, request):
        """Return the inputs that the request has."""
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self.names}
        return {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}

    def finalize(self):
        """Release the engine."""
        self.model.close()


class Reply:
    """Answers one request through its sender: when it is done, and not when the batch is."""

    def __init__(self, request):
        self.sender = request.get_response_sender()

    def token(self, row, token):
        """Go on unless the client is gone."""
        return self.sender.is_cancelled()

    def wanted(self):
        """Go on with beams unless the client is gone."""
        return not self.sender.is_cancelled()

    def answer(self, arrays):
        """Send the outputs."""
        outputs = [pb_utils.Tensor(name, array) for name, array in arrays.items()]
        self.sender.send(pb_utils.InferenceResponse(outputs), flags=FINAL)

    def fail(self, error):
        """Send why there are none."""
        code = getattr(pb_utils.TritonError, CODES.get(error.code, "INTERNAL"))
        triton = pb_utils.TritonError(error.message, code)
        self.sender.send(pb_utils.InferenceResponse(error=triton), flags=FINAL)
