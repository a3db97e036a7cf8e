"""POST /v1/completions. Source: OpenAI's API reference, "Create completion"."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from slipway.config.purpose import Use
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.completion_answer import CompletionJob, answer_completions
from slipway.rest.openai.completion_forms import CompletionForm
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.prompts import (
    Prompt,
    check_count,
    check_room,
    encode_prompts,
    open_text_side,
    read_prompts,
)
from slipway.rest.openai.reading import read_request
from slipway.rest.openai.refused_fields import OF_COMPLETIONS, refuse_fields
from slipway.rest.openai.sampling import GenerationFields, plan_sequences
from slipway.rest.openai.served import ServedModel, choose_model
from slipway.rest.openai.structured import checked_structure
from slipway.rest.openai.texts import counted_refusals, usual_prompt
from slipway.rest.openai.tokenizing import TextTokenizer

_USUAL_TOKENS: Final = 16  # OpenAI's default


class CompletionRequest(GenerationFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body."""

    prompt: Any
    best_of: int | None = None
    echo: bool | None = None
    add_special_tokens: bool = True
    logprobs: int | None = None
    suffix: Any = None


async def create_completion(context: Context, exchange: Exchange) -> None:
    """Answer POST /v1/completions."""
    arrival = time.monotonic()
    request = await read_request(exchange, CompletionRequest)
    model = choose_model(context, request.model, Use.GENERATE)
    with counted_refusals(context, model):
        job = await _planned(context, model, request)
    await answer_completions(context, exchange, replace(job, arrival=arrival))


async def _planned(context: Context, model: ServedModel, request: CompletionRequest) -> CompletionJob:
    refuse_fields(request, OF_COMPLETIONS)
    if request.echo and request.logprobs is not None:
        raise ApiError("'logprobs' of a prompt are not computed: leave out 'echo'.", "logprobs")
    prompts = await read_prompts(request.prompt)
    tokenizer = await open_text_side(context, model)
    plan = plan_sequences(
        request,
        own_settings(context, model),
        limit=request.max_tokens,
        usual_limit=_USUAL_TOKENS,
        logprobs=request.logprobs,
        best_of=request.best_of,
    )
    check_count(len(prompts), plan.count)
    plan = plan.held_to(await checked_structure(request, len(prompts) * plan.count))  # starts a process
    before = usual_prompt(context, model)
    ids = await encode_prompts(tokenizer, prompts, "prompt", special=request.add_special_tokens, before=before)
    check_room(model, ids, plan, "prompt")
    echoes = [await _text(tokenizer, prompt) for prompt in prompts] if request.echo else []
    return CompletionJob(model, CompletionForm(), plan, ids, echoes)


async def _text(tokenizer: TextTokenizer, prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else await tokenizer.decode(prompt, skip_special=True)


def own_settings(context: Context, model: ServedModel) -> Mapping[str, str]:
    """Return the checkpoint's decoding settings, from the config of the model that completes."""
    config = context.dataplane.model_config(model.purpose.completions, "")
    return {name: parameter.string_value for name, parameter in config.parameters.items()}
