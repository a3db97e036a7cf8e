"""Fields of OpenAI's bodies that ask for what no model here does: each is refused with the reason, unless its value
asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from slipway.rest.openai.errors import ApiError

Refused = Mapping[str, tuple[tuple[Any, ...], str]]

_BEAMS: Final = "these routes do not search with beams: call NAME-model, which does"
_NO_IDS: Final = "the answer has no token ids: /tokenize returns those of a text"
# Name -> the values beside null that ask for nothing, and the reason.
OF_BOTH: Final[Refused] = {
    "use_beam_search": ((False,), _BEAMS),
    "length_penalty": ((1,), _BEAMS),
    "early_stopping": ((False,), _BEAMS),
    "bad_words": (([],), "specify the ids of their tokens in 'logit_bias', with -100"),
    "logits_processors": (([],), "a request cannot bring code"),
    "prompt_logprobs": ((), "log-probabilities of a prompt are not computed"),
    "skip_special_tokens": ((True,), "special tokens are not part of the text"),
    "spaces_between_special_tokens": ((True, False), "special tokens are not part of the text"),
    "truncate_prompt_tokens": ((), "a prompt is never shortened"),
    "return_token_ids": ((False,), _NO_IDS),
    "return_tokens_as_token_ids": ((False,), _NO_IDS),
    "guided_decoding_backend": (("auto", "guidance"), "grammars are followed with llguidance"),
    "guided_whitespace_pattern": ((), "specify the whole text with 'guided_regex' or 'guided_grammar'"),
}
OF_COMPLETIONS: Final[Refused] = {
    **OF_BOTH,
    "suffix": ((), "the models of this server continue a text, and cannot fill a gap before a suffix"),
}
OF_CHATS: Final[Refused] = {
    **OF_BOTH,
    "functions": (([],), "specify 'tools' instead"),
    "function_call": ((), "specify 'tool_choice' instead"),
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
