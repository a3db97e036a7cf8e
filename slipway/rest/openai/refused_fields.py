"""Fields of OpenAI's bodies that ask for what no model here does: each is refused with the reason, unless its value
asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from slipway.rest.openai.errors import ApiError

Refused = Mapping[str, tuple[tuple[Any, ...], str]]

# Name -> the values beside null that ask for nothing, and the reason.
OF_COMPLETIONS: Final[Refused] = {
    "suffix": ((), "the models of this server continue a text, and cannot fill a gap before a suffix"),
}
OF_CHATS: Final[Refused] = {
    "functions": (([],), "specify 'tools' instead"),
    "function_call": ((), "specify 'tool_choice' instead"),
    "response_format": (({"type": "text"},), "the form of the text cannot be enforced"),
    "modalities": ((["text"],), "the models of this server only generate text"),
    "audio": ((), "the models of this server only generate text"),
    "prediction": ((), "predicted outputs are not supported"),
    "web_search_options": ((), "the server does not search the web"),
    "reasoning_effort": ((), "specify what the model's chat template knows in 'chat_template_kwargs'"),
    "verbosity": ((), "specify what the model's chat template knows in 'chat_template_kwargs'"),
}


def refuse_fields(request: msgspec.Struct, refused: Refused) -> None:
    """Raise `ApiError` naming the first of the `refused` fields that a body sets."""
    for name, (harmless, reason) in refused.items():
        value = getattr(request, name)
        if value is not None and value not in harmless:
            raise ApiError(f"'{name}' is not supported: {reason}.", name, kind="unsupported_parameter")
