"""The prompts of /v1/completions as token ids, and whether they leave room for what is to be generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from slipway.core.large_work import LARGE_COUNT, run_large
from slipway.errors import Code, SlipwayError, unsupported
from slipway.rest.context import Context
from slipway.rest.openai.errors import TOO_LONG, ApiError
from slipway.rest.openai.sampling import CompletionPlan
from slipway.rest.openai.served import ServedModel
from slipway.rest.openai.tokenizing import TextTokenizer

_CONTINUES: Final = "text-generation"  # the task of models whose text and prompt share the context
MAX_SEQUENCES: Final = 1024  # of one request
_MOST_TOKENS: Final = 1 << 20  # of all their prompts
_PIECE: Final = 16  # texts that are tokenized together

Prompt = str | list[int]


async def read_prompts(value: Any) -> list[Prompt]:
    """Return the field `prompt` as a list of texts or token ids; raise `ApiError` if it is neither one prompt nor
    several."""
    large = isinstance(value, list) and len(value) + sum(len(each) for each in value if isinstance(each, list))
    return await run_large(_listed, value) if large > LARGE_COUNT else _listed(value)


def _listed(value: Any) -> list[Prompt]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise _wrong_type()
    if not value:
        raise ApiError("'prompt' must not be empty.", "prompt")
    if _are_ids(value):
        return [value]
    for prompt in value:
        if not isinstance(prompt, str) and not (isinstance(prompt, list) and prompt and _are_ids(prompt)):
            raise _wrong_type()
    return value


def _are_ids(value: Sequence[Any]) -> bool:
    return set(map(type, value)) == {int} and min(value) >= 0 and max(value) < 1 << 31  # in C: there are many


def _wrong_type() -> ApiError:
    return ApiError(
        "Invalid type for 'prompt': expected a text, a list of texts, token ids, or a list of these.",
        "prompt",
        kind="invalid_type",
    )


def check_count(prompts: int, sequences: int) -> None:
    """Raise `ApiError` if a request asks for too many sequences."""
    if prompts * sequences > MAX_SEQUENCES:
        raise ApiError(
            f"{prompts} prompts with {sequences} sequences each are {prompts * sequences}, but at most "
            f"{MAX_SEQUENCES} sequences fit into one request.",
            "prompt",
            status=413,
        )


async def open_text_side(context: Context, model: ServedModel) -> TextTokenizer:
    """Return the model's tokenizer; raise UNSUPPORTED if the model cannot answer these routes."""
    purpose = model.purpose
    if not purpose.completions:
        raise unsupported(
            f"The model '{model.name}' cannot complete prompts: it was not written by 'slipway convert', or by a "
            "version that did not write the model NAME-completions. Convert its checkpoint again."
        )
    for needed in (purpose.completions, purpose.tokenizer):
        if not _is_served(context, needed):
            raise ApiError(
                f"The model '{model.name}' needs the model '{needed}', which is not loaded.",
                "model",
                kind="model_not_found",
                status=404,
            )
    return await context.tokenizers.open(context.dataplane.model_files(purpose.tokenizer, ""), purpose.max_tokens)


def _is_served(context: Context, name: str) -> bool:
    try:
        context.dataplane.signature(name, "")
    except SlipwayError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return False
    return True


async def encode_prompts(
    tokenizer: TextTokenizer, prompts: Sequence[Prompt], field: str, *, special: bool = True, before: str = ""
) -> list[list[int]]:
    """Return the token ids of prompts; `before` is put before texts. Raise `ApiError` for one that has no tokens, or is
    certainly too long to be read."""
    texts = [before + prompt for prompt in prompts if isinstance(prompt, str)]
    if any(len(text) > tokenizer.most for text in texts):
        longest = max(map(len, texts))
        limit = f"{tokenizer.max_tokens} tokens" if tokenizer.max_tokens else f"{tokenizer.most} characters"
        raise ApiError(
            f"This model's maximum context length is {limit}, but '{field}' has a text of {longest} characters.",
            field,
            kind=TOO_LONG,
        )
    encoded: list[list[int]] = []
    for start in range(0, len(texts), _PIECE):  # an encoding has 100 bytes a token: only the ids are kept
        encoded += [each.ids for each in await tokenizer.encode(texts[start : start + _PIECE], special=special)]
        if (total := sum(map(len, encoded))) > _MOST_TOKENS:
            raise _too_many(total, field)
    rest = iter(encoded)
    found = [next(rest) if isinstance(prompt, str) else prompt for prompt in prompts]
    if not all(found):
        raise ApiError(f"'{field}' has a text without tokens.", field)
    return found


def check_room(model: ServedModel, prompts: Sequence[Sequence[int]], plan: CompletionPlan, field: str) -> None:
    """Raise `ApiError` unless every prompt fits into the context of the model, with the tokens to generate if they
    share it, and all sequences fit into one request."""
    total, wanted = sum(map(len, prompts)) * plan.count, plan.most_tokens or 1
    if total > _MOST_TOKENS:
        raise _too_many(total, field)
    context = model.purpose.max_tokens
    if not context:
        return
    asked = wanted if model.purpose.task == _CONTINUES else 0
    longest = max(map(len, prompts))
    if longest + asked > context:
        generated = f" and {asked} to generate" if asked else ""
        raise ApiError(
            f"This model's maximum context length is {context} tokens, but '{field}' has {longest}{generated}. Shorten "
            "it, or generate fewer tokens.",
            field,
            kind=TOO_LONG,
        )


def _too_many(total: int, field: str) -> ApiError:
    return ApiError(
        f"The prompts of all sequences have {total} tokens or more, but at most {_MOST_TOKENS} fit into one request.",
        field,
        status=413,
    )
