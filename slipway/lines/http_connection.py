"""Lines over HTTP: KServe v2's routes with binary tensors, read also as JSON from servers without that extension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from slipway.client.endpoint import Endpoint
from slipway.client.http_codec import error_of, model_path
from slipway.client.http_exchange import HEADER_LENGTH, HttpExchange, HttpResponse
from slipway.client.messages import Incoming
from slipway.core.bytes_codec import TruncatedElementError, decode_bytes, encode_bytes
from slipway.errors import SlipwayError, invalid, unavailable
from slipway.lines.connection import Described
from slipway.lines.text_model import TextModel

_OK: Final = 200


class HttpModelConnection:
    """A `ModelConnection` over HTTP."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._exchange = HttpExchange(endpoint)

    async def describe(self, model: str, version: str) -> Described:
        """Return the model's metadata and configuration."""
        path = model_path(model, version)
        metadata = await self._json("GET", path)
        response = await self._request("GET", f"{path}/config")
        config = _document(response.body) if response.status == _OK else {}
        return Described(metadata, config)

    async def is_ready(self, model: str, version: str) -> bool:
        """Return whether the model can be asked."""
        return (await self._request("GET", f"{model_path(model, version)}/ready")).status == _OK

    async def infer(self, model: TextModel, lines: Sequence[bytes]) -> list[list[bytes]]:
        """Return the values of the text output for each line."""
        raw = encode_bytes(lines)
        head = orjson.dumps(
            {
                "inputs": [
                    {
                        "name": model.input_name,
                        "shape": model.shape(len(lines)),
                        "datatype": "BYTES",
                        "parameters": {"binary_data_size": len(raw)},
                    }
                ],
                "outputs": [{"name": model.output_name, "parameters": {"binary_data": True}}],
            }
        )
        headers = f"Inference-Header-Content-Length: {len(head)}\r\nContent-Type: application/octet-stream\r\n"
        path = f"{model_path(model.name, model.version)}/infer"
        response = await self._request("POST", path, headers, (head, raw), size=len(head) + len(raw))
        if response.status != _OK:
            raise _refusal(response)
        return model.rows_of(_values(response, model.output_name), len(lines))

    async def models(self) -> list[str]:
        """Return the names of the models of the server, as far as it reports them."""
        response = await self._request("POST", "/v2/repository/index", body=(b"{}",), size=2)
        entries = orjson.loads(response.body) if response.status == _OK else []
        return [str(entry["name"]) for entry in entries]

    async def close(self) -> None:
        """Close the connection."""
        self._exchange.close()

    async def _json(self, method: str, path: str) -> dict[str, Any]:
        response = await self._request(method, path)
        if response.status != _OK:
            raise _refusal(response)
        return _document(response.body)

    async def _request(
        self, method: str, path: str, headers: str = "", body: Sequence[bytes] = (), *, size: int = 0
    ) -> HttpResponse:
        try:
            return await self._exchange.request(method, path, headers, body, size=size)
        except TimeoutError:
            raise unavailable(f"{self._endpoint} does not answer") from None
        except OSError as error:
            raise unavailable(f"the connection to {self._endpoint} failed: {error}") from None


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise invalid("an HTTP server that is not an inference server answers: specify its HTTP port with --server")
    return document


def _refusal(response: HttpResponse) -> SlipwayError:
    return error_of(Incoming(response.body, response.status))


def _values(response: HttpResponse, name: str) -> list[bytes]:
    """Return the elements of an output, from the binary part of a response or from its JSON."""
    length = int(response.headers.get(HEADER_LENGTH, len(response.body)))
    body = memoryview(response.body)
    document = _document(bytes(body[:length]))
    offset = length
    for output in document.get("outputs", ()):
        size = output.get("parameters", {}).get("binary_data_size")
        if output["name"] != name:
            offset += size or 0
        elif size is None:
            return _from_json(output.get("data", ()))
        else:
            return _from_binary(body[offset : offset + size], name)
    raise invalid(f"the response does not contain the output '{name}'")


def _from_json(data: Sequence[Any] | Mapping[str, Any]) -> list[bytes]:
    values: list[bytes] = []
    for value in data:
        values += _from_json(value) if isinstance(value, list) else [str(value).encode()]
    return values


def _from_binary(raw: memoryview, name: str) -> list[bytes]:
    try:
        return decode_bytes(raw)
    except TruncatedElementError as error:
        raise invalid(f"output '{name}' is cut short: {error}") from None
