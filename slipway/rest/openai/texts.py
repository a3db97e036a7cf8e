"""The texts of a request: how many there may be, which prompt is put before them, how many tokens they have.

The counting is that of the model's own tokenizer. What is longer than the model reads is refused unless the request
says that it may be truncated: a truncated text is another text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from slipway.errors import Code, SlipwayError, shown
from slipway.nearest import nearest_or_all
from slipway.rest.context import Context
from slipway.rest.openai.errors import TOO_LONG, ApiError
from slipway.rest.openai.served import ServedModel
from slipway.rest.openai.tokenizing import Text, TextTokenizer, length_of

MAX_TEXTS: Final = 2048  # of one request, as at OpenAI
MAX_TOKENS: Final = 300_000  # of one request, as at OpenAI
# What clients call the two sides of a search, and what prompts for them are called.
_SIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "query": ("query", "search_query", "retrieval.query", "web_search_query", "s2p_query"),
    "document": ("document", "passage", "search_document", "retrieval.passage", "corpus", "text"),
}
_OTHERS: Final = ("classification", "clustering", "text-matching", "separation")
_PROMPT: Final = "PROMPT"  # of the tokenizer model, see `convert/models/tokenizer.py`
# The tokenizer model is not served; with namespaces, its name means no model that clients can call, or several.
_ABSENT: Final = (Code.NOT_FOUND, Code.INVALID_ARG)
_CHARACTERS: Final = 4  # of a token, where nothing but its length is known

Element = TypeVar("Element")


@dataclass(frozen=True, slots=True)
class CountedTexts:
    """Texts, without what the model certainly does not read, and their numbers of tokens. `tokens` is the sum, 0 if the
    model has no tokenizer.json; the numbers are then estimates."""

    texts: Sequence[Text]
    lengths: Sequence[int]
    tokens: int


@contextmanager
def counted_refusals(context: Context, model: ServedModel) -> Iterator[None]:
    """Count a request that is refused in the block as a failure of the model."""
    try:
        yield
    except ApiError:
        context.dataplane.record_rejected(model.name, "")
        raise


def as_list(value: str | list[Element], field: str) -> list[str] | list[Element]:
    """Return one text or several elements as a list; raise `ApiError` if there are none or too many."""
    return bounded([value], field) if isinstance(value, str) else bounded(value, field)


def bounded(elements: list[Element], field: str) -> list[Element]:
    """Return the elements of a request; raise `ApiError` if there are none or too many."""
    if not elements:
        raise ApiError(f"'{field}' must not be empty.", field)
    if len(elements) > MAX_TEXTS:
        raise too_many(len(elements), field)
    return elements


def too_many(count: int, field: str) -> ApiError:
    """Return the error for more texts than one request may have."""
    return ApiError(f"'{field}' has {count} elements, but at most {MAX_TEXTS} fit into one request.", field, status=413)


async def open_tokenizer(context: Context, model: ServedModel) -> TextTokenizer | None:
    """Return the model's tokenizer, None if it has no tokenizer.json."""
    purpose = model.purpose
    try:
        directory = context.dataplane.model_files(purpose.tokenizer, "")
        return await context.tokenizers.open(directory, purpose.max_tokens)
    except SlipwayError as error:
        if error.code not in _ABSENT:
            raise
        return None


async def count_texts(
    context: Context, model: ServedModel, texts: Sequence[Text], field: str, *, truncates: bool
) -> CountedTexts:
    """Return the texts with their lengths; raise `ApiError` if one is longer than the model reads and may not be
    truncated, or all of them are too long."""
    tokenizer = await open_tokenizer(context, model)
    if tokenizer is None:
        lengths = [length_of(text) // _CHARACTERS + 1 for text in texts]
        return CountedTexts(texts, lengths, 0)
    texts = tokenizer.cut(texts)
    prompt = usual_prompt(context, model)
    counts = await tokenizer.count([_with_prompt(prompt, text) for text in texts] if prompt else texts)
    lengths = fit(counts, tokenizer.max_tokens, field, truncates=truncates)
    return CountedTexts(texts, lengths, sum(lengths))


def fit(counts: Sequence[int], longest: int, field: str, *, truncates: bool) -> list[int]:
    """Return numbers of tokens after truncation to `longest` (0: unlimited); raise `ApiError` if that is not allowed,
    or the sum exceeds the limit of a request."""
    lengths = [min(count, longest) for count in counts] if longest else list(counts)
    if lengths != counts and not truncates:
        place = next(place for place, count in enumerate(counts) if count > longest)
        which = f"'{field}'" if len(counts) == 1 else f"element {place} of '{field}'"
        raise ApiError(
            f"This model's maximum context length is {longest} tokens, but {which} has {counts[place]} or more. "
            f"Shorten it, or set 'truncate' to true.",
            field,
            kind=TOO_LONG,
        )
    if sum(lengths) > MAX_TOKENS:
        raise ApiError(
            f"'{field}' has {sum(lengths)} tokens, but at most {MAX_TOKENS} fit into one request.",
            field,
            kind="max_tokens_per_request",
            status=413,
        )
    return lengths


def usual_prompt(context: Context, model: ServedModel) -> str:
    """Return the prompt that the model's tokenizer puts before every text, "" if it does not."""
    try:
        config = context.dataplane.model_config(model.purpose.tokenizer, "")
    except SlipwayError as error:
        if error.code not in _ABSENT:
            raise
        return ""
    return config.parameters[_PROMPT].string_value if _PROMPT in config.parameters else ""


def chosen_prompt(context: Context, model: ServedModel, side: str | None, name: str | None) -> str:
    """Return what to put before the texts of a request with an `input_type` (`side`) or a `prompt_name`; raise
    `ApiError` if the model cannot do it."""
    prompts = model.purpose.prompts
    if name is not None:
        if name not in prompts:
            known = nearest_or_all(name, prompts) if prompts else ": the model has no prompts"
            raise ApiError(f"The prompt '{shown(name)}' is unknown{known}", "prompt_name")
        prompt = prompts[name]
    else:
        prompt = _of_side(side, prompts)
    usual = usual_prompt(context, model) if prompt else ""
    if usual and prompt != usual:
        raise ApiError(
            f"The model puts '{shown(usual)}' before every text, and another prompt cannot take its place.",
            "prompt_name" if name is not None else "input_type",
        )
    return "" if usual else prompt


def _of_side(side: str | None, prompts: Mapping[str, str]) -> str:
    """Return the prompt for one side of a search; "" for a model that has none for it."""
    if side is None:
        return ""
    if side in prompts:
        return prompts[side]
    for names in _SIDES.values():
        if side in names:
            return next((prompts[each] for each in names if each in prompts), "")
    if side in _OTHERS:
        return ""
    known = dict.fromkeys((*prompts, *_SIDES["query"], *_SIDES["document"], *_OTHERS))
    raise ApiError(f"The input type '{shown(side)}' is unknown{nearest_or_all(side, known)}", "input_type")


def _with_prompt(prompt: str, text: Text) -> Text:
    return prompt + text if isinstance(text, str) else (prompt + text[0], text[1])
