"""One interface to tritonclient's HTTP and gRPC clients, with no more than `slipway infer` needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.client import HTTPException
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from slipway.cli.description import InputTensor, ModelDescription, read_description
from slipway.cli.event_stream import open_events
from slipway.cli.peer import await_listener, explain
from slipway.cli.tls import DEFAULT_URL, Address, Tls
from slipway.core.explanation import EXPLAIN
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, invalid, unavailable
from slipway.installation import install_hint

_SECURE: Final = ("https", "grpcs")  # schemes
_STREAM_ENDED: Final = "no longer in valid state"
Answer = dict[str, np.ndarray]
Parameters = Mapping[str, str | bool | int | float]


class CommandClient:
    """A connection to one server."""

    def __init__(
        self,
        module: Any,
        connection: Any,
        address: Address,
        protocol: str,
        tls: Tls,
        *,
        timeout_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._module = module
        self._connection = connection
        self._address = address
        self._protocol = protocol
        self._tls = tls
        self._waiting = {} if timeout_s is None or protocol == "http" else {"client_timeout": timeout_s}
        self._headers = dict(headers or {})
        self.explanation = ""  # of the last request, if the server explains it

    def describe(self, model: str, version: str) -> ModelDescription:
        """Return the model's inputs and batch limit; raise `SlipwayError` if the server does not have it."""
        as_json = {} if self._protocol == "http" else {"as_json": True}
        metadata = self._call(self._connection.get_model_metadata, model, version, **as_json)
        config = self._call(self._connection.get_model_config, model, version, **as_json)
        return read_description(metadata, config, model, version)

    def infer(
        self, model: ModelDescription, inputs: Mapping[str, InputTensor], parameters: Parameters | None = None
    ) -> Answer:
        """Return the outputs by name; raise `SlipwayError` with the server's message if it refuses."""
        self.explanation = ""
        settings = {"model_version": model.version, "parameters": parameters or None, **self._waiting}
        return self._outputs(self._call(self._connection.infer, model.name, self._tensors(inputs), **settings))

    def stream(
        self, model: ModelDescription, inputs: Mapping[str, InputTensor], parameters: Parameters | None = None
    ) -> Iterator[Answer]:
        """Yield every response of a decoupled model as it arrives; raise `SlipwayError` on an error."""
        self.explanation = ""
        if self._protocol == "http":
            return self._events(model, inputs, parameters or {})
        return self._responses(model, inputs, parameters)

    def _responses(
        self, model: ModelDescription, inputs: Mapping[str, InputTensor], parameters: Parameters | None
    ) -> Iterator[Answer]:
        from tritonclient.utils import InferenceServerException

        answers: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
        self._connection.start_stream(lambda result, error: answers.put((result, error)))
        try:
            self._connection.async_stream_infer(
                model.name,
                self._tensors(inputs),
                model_version=model.version,
                enable_empty_final_response=True,
                parameters=parameters or None,
            )
            final = False
            while not final:
                result, error = answers.get()
                if error is not None:
                    raise self._failure(error)
                response = result.get_response()
                final = response.parameters["triton_final_response"].bool_param
                self._note_explanation(response)
                if response.outputs:
                    yield self._outputs(result)
        except InferenceServerException as error:
            ended = _STREAM_ENDED in str(error)  # before the request was sent; the callback says why
            raise self._failure(answers.get()[1] if ended else error) from None
        finally:
            self._connection.stop_stream(cancel_requests=True)

    def _events(
        self, model: ModelDescription, inputs: Mapping[str, InputTensor], parameters: Parameters
    ) -> Iterator[Answer]:
        """Yield the responses of the route generate_stream, whose values have lost their shapes."""
        tensors = {name: tensor.plain() for name, tensor in inputs.items()}
        version = ["versions", quote(model.version)] if model.version else []
        path = "/".join(["v2", "models", quote(model.name), *version, "generate_stream"])
        try:
            document = {**parameters, **tensors}
            with open_events(self._address, self._tls, path, document, self._headers) as events:
                for event in events:
                    self.explanation = str(event.get(EXPLAIN, self.explanation))
                    if EXPLAIN in event and event.keys().isdisjoint(model.outputs):
                        continue
                    yield {name: _array(event[name], kind) for name, kind in model.outputs.items() if name in event}
        except OSError as error:
            raise _unreachable(error, self._address, self._protocol, self._tls) from error
        except HTTPException as error:
            raise unavailable(f"{self._address.text} ended the connection before the last response") from error

    def _outputs(self, result: Any) -> Answer:
        response = result.get_response()
        self._note_explanation(response)
        outputs = response["outputs"] if isinstance(response, dict) else response.outputs
        names = [each["name"] if isinstance(each, dict) else each.name for each in outputs]
        return {name: result.as_numpy(name) for name in names}

    def _note_explanation(self, response: Any) -> None:
        if isinstance(response, dict):
            self.explanation = str(response.get("parameters", {}).get(EXPLAIN, self.explanation))
        elif EXPLAIN in response.parameters:
            self.explanation = response.parameters[EXPLAIN].string_param

    def _tensors(self, inputs: Mapping[str, InputTensor]) -> list[Any]:
        tensors = []
        for name, tensor in inputs.items():
            sent = self._module.InferInput(name, list(tensor.array.shape), tensor.datatype)
            sent.set_data_from_numpy(tensor.array)
            tensors.append(sent)
        return tensors

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        unreachable: tuple[type[Exception], ...] = (OSError, *_not_http(self._protocol))
        try:
            return method(*arguments, **options)
        except InferenceServerException as error:
            raise self._failure(error) from None
        except unreachable as error:
            raise _unreachable(error, self._address, self._protocol, self._tls) from None
        except _not_json(self._protocol):
            who = "an HTTP server that is not an inference server"
            raise unavailable(f"{who} answers at {self._address.text}: specify the HTTP port with --url") from None

    def _failure(self, error: Any) -> SlipwayError:
        """Return the server's error, or the reason why no inference server answered."""
        message = error.message() or str(error)
        if "StatusCode.UNAVAILABLE" not in (error.status() or ""):
            return invalid(message)
        reason = explain(self._address, self._protocol, self._tls)
        return unavailable(reason) if reason else invalid(message)


def _unreachable(error: Exception, address: Address, protocol: str, tls: Tls) -> SlipwayError:
    reason = explain(address, protocol, tls)
    return unavailable(reason or f"the connection to {address.text} failed: {error}")


def _array(value: Any, datatype: str) -> np.ndarray:
    return np.atleast_1d(np.array(value, dtype=np.object_ if datatype == "BYTES" else BY_NAME[datatype].numpy))


def _not_http(protocol: str) -> tuple[type[Exception], ...]:
    """Return what the client library raises if a peer does not speak HTTP."""
    if protocol != "http":
        return ()
    from geventhttpclient.response import HTTPParseError

    return (HTTPParseError,)


def _not_json(protocol: str) -> tuple[type[Exception], ...]:
    """Return what the client library raises if the body of an answer is not JSON."""
    if protocol != "http":
        return ()
    from rapidjson import JSONDecodeError

    return JSONDecodeError, UnicodeDecodeError


def open_client(
    url: str | None,
    protocol: str,
    tls: Tls | None = None,
    *,
    wait_s: float = 0,
    timeout_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> CommandClient:
    """Return a client for `url` ("host:port", optionally with a scheme; https means TLS), which sends `headers` with
    every request. Wait at most `wait_s` seconds until something accepts connections there, and then at most `timeout_s`
    for each response."""
    tls = tls or Tls()
    text = url or DEFAULT_URL[protocol]
    scheme, separator, rest = text.partition("://")
    if separator:
        text = rest.rstrip("/")
        tls = replace(tls, used=tls.used or scheme in _SECURE)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines on a failed handshake; the error says it already
    try:
        module = import_module(f"tritonclient.{protocol}")
    except (ImportError, RuntimeError):  # tritonclient turns the first into the second
        hint = install_hint(protocol)
        raise unavailable(f"--protocol {protocol} needs tritonclient[{protocol}]: {hint}") from None
    if tls.used:
        tls.check()
    address = Address.of(text, encrypted=tls.used)
    await_listener(address, wait_s)
    try:
        settings = tls.settings(protocol, address)
        if timeout_s is not None and protocol == "http":
            settings |= {"connection_timeout": timeout_s, "network_timeout": timeout_s}
    except OSError as error:
        raise _unreachable(error, address, protocol, tls) from None
    connection = module.InferenceServerClient(address.text, **settings)
    sent = {name.lower(): value for name, value in (headers or {}).items()}  # as gRPC wants them
    if sent:
        connection.register_plugin(lambda request: request.headers.update(sent))
    return CommandClient(module, connection, address, protocol, tls, timeout_s=timeout_s, headers=sent)
