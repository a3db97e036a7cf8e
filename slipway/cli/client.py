"""One interface to tritonclient's HTTP and gRPC clients, with no more than `slipway infer` needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Final

import numpy as np

from slipway.errors import SlipwayError, invalid, unavailable
from slipway.installation import install_hint

DEFAULT_URL: Final = {"http": "localhost:8000", "grpc": "localhost:8001"}
Answer = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class InputTensor:
    """A tensor to send."""

    datatype: str
    array: np.ndarray


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What the server reports about a model; `optional` names the inputs that a request may omit; `most_rows` is the
    row limit of a request, 0 for no limit."""

    name: str
    inputs: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    most_rows: int
    optional: frozenset[str] = frozenset()

    @property
    def text_input(self) -> str:
        """The string input that a request must have; raise `SlipwayError` unless there is exactly one."""
        names = [name for name, kind in self.inputs.items() if kind == "BYTES" and name not in self.optional]
        if len(names) != 1:
            declared = ", ".join(f"{name} {datatype}" for name, datatype in self.inputs.items())
            raise invalid(f"model '{self.name}' has {len(names)} string inputs ({declared}); use --inputs")
        return names[0]

    def text_array(self, texts: Sequence[str]) -> InputTensor:
        """Return the texts in the shape of the string input: [rows, 1, ...], or [1] for a model without batches."""
        shape = self.shapes[self.text_input]
        array = np.array([text.encode() for text in texts], dtype=np.object_)
        return InputTensor("BYTES", array.reshape(len(texts), *([1] * (len(shape) - 1))))


class Client:
    """A connection to one server."""

    def __init__(self, module: Any, connection: Any, url: str) -> None:
        self._module = module
        self._connection = connection
        self._url = url

    def describe(self, model: str, version: str) -> ModelDescription:
        """Return the model's inputs and batch limit; raise `SlipwayError` if the server does not have it."""
        as_json = {} if self._module.__name__.endswith("http") else {"as_json": True}
        metadata = self._call(self._connection.get_model_metadata, model, version, **as_json)
        config = self._call(self._connection.get_model_config, model, version, **as_json)
        inputs = metadata.get("inputs", [])
        declared = config.get("config", config)
        most_rows = int(declared.get("max_batch_size", 0))
        return ModelDescription(
            model,
            {each["name"]: each["datatype"] for each in inputs},
            {each["name"]: tuple(int(size) for size in each.get("shape", ())) for each in inputs},
            most_rows or (0 if any(int(each["shape"][0]) == -1 for each in inputs if each.get("shape")) else 1),
            frozenset(each["name"] for each in declared.get("input", ()) if each.get("optional")),
        )

    def infer(self, model: ModelDescription, inputs: Mapping[str, InputTensor], version: str) -> Answer:
        """Return the outputs by name; raise `SlipwayError` with the server's message if it refuses."""
        sent = self._tensors(inputs)
        return _outputs(self._call(self._connection.infer, model.name, sent, model_version=version))

    def stream(self, model: str, inputs: Mapping[str, InputTensor], version: str) -> Iterator[Answer]:
        """Yield every response of a decoupled model as it arrives (gRPC only); raise `SlipwayError` on an error."""
        answers: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
        self._connection.start_stream(lambda result, error: answers.put((result, error)))
        try:
            self._connection.async_stream_infer(
                model, self._tensors(inputs), model_version=version, enable_empty_final_response=True
            )
            final = False
            while not final:
                result, error = answers.get()
                if error is not None:
                    raise invalid(error.message() or str(error))
                response = result.get_response()
                final = response.parameters["triton_final_response"].bool_param
                if response.outputs:
                    yield _outputs(result)
        finally:
            self._connection.stop_stream(cancel_requests=True)

    def _tensors(self, inputs: Mapping[str, InputTensor]) -> list[Any]:
        tensors = []
        for name, tensor in inputs.items():
            sent = self._module.InferInput(name, list(tensor.array.shape), tensor.datatype)
            sent.set_data_from_numpy(tensor.array)
            tensors.append(sent)
        return tensors

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return method(*arguments, **options)
        except InferenceServerException as error:
            message = error.message() or str(error)
            if "StatusCode.UNAVAILABLE" in (error.status() or "") and "connect" in message:
                raise self._unreachable() from None
            raise invalid(message) from None
        except OSError:
            raise self._unreachable() from None

    def _unreachable(self) -> SlipwayError:
        return unavailable(f"no server answers at {self._url}")


def _outputs(result: Any) -> Answer:
    response = result.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [each["name"] if isinstance(each, dict) else each.name for each in outputs]
    return {name: result.as_numpy(name) for name in names}


def open_client(url: str | None, protocol: str) -> Client:
    """Return a client for `url` ("host:port", optionally with a scheme; https means TLS)."""
    address = url or DEFAULT_URL[protocol]
    scheme, separator, rest = address.partition("://")
    if separator:
        address = rest.rstrip("/")
    try:
        module = import_module(f"tritonclient.{protocol}")
    except (ImportError, RuntimeError):  # tritonclient turns the first into the second
        hint = install_hint(protocol)
        raise unavailable(f"--protocol {protocol} needs tritonclient[{protocol}]: {hint}") from None
    secure = bool(separator) and scheme in ("https", "grpcs")
    return Client(module, module.InferenceServerClient(address, ssl=secure), address)
