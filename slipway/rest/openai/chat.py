"""POST /v1/chat/completions. Source: OpenAI's API reference, "Create chat completion".

The conversation becomes text through the checkpoint's own chat template. Beside OpenAI's fields, `chat_template` names
one of several templates, `documents` and `chat_template_kwargs` are passed to it, and `add_generation_prompt` says
whether the text ends where the assistant's turn begins.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from slipway.chat.renderer import shared_renderer
from slipway.chat.templates import read_templates
from slipway.chat.tool_formats import PLAIN_CALLS, TOOL_FORMATS
from slipway.config.purpose import Use
from slipway.errors import Code, SlipwayError
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.chat_messages import conversation, template_variables
from slipway.rest.openai.completion_answer import CompletionJob, answer_completions
from slipway.rest.openai.completion_forms import ChatForm
from slipway.rest.openai.completions import own_settings
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.forced_calls import forced_grammar
from slipway.rest.openai.prompts import check_count, check_room, encode_prompts, open_text_side
from slipway.rest.openai.reading import read_request
from slipway.rest.openai.refused_fields import OF_CHATS, refuse_fields
from slipway.rest.openai.sampling import GenerationFields, plan_sequences
from slipway.rest.openai.served import ServedModel, choose_model
from slipway.rest.openai.structured import checked_structure
from slipway.rest.openai.texts import counted_refusals
from slipway.rest.openai.tool_forms import ToolChatForm
from slipway.rest.openai.tools import ToolPlan, plan_tools
from slipway.runtime.grammars.source import GrammarSource


class ChatRequest(GenerationFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body."""

    messages: list[Any]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: Any = None
    documents: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: Any = None
    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None


async def create_chat_completion(context: Context, exchange: Exchange) -> None:
    """Answer POST /v1/chat/completions."""
    arrival = time.monotonic()
    request = await read_request(exchange, ChatRequest)
    model = choose_model(context, request.model, Use.GENERATE)
    with counted_refusals(context, model):
        job = await _planned(context, model, request)
    await answer_completions(context, exchange, replace(job, arrival=arrival))


async def _planned(context: Context, model: ServedModel, request: ChatRequest) -> CompletionJob:
    refuse_fields(request, OF_CHATS)
    if request.top_logprobs is not None and not request.logprobs:
        raise ApiError("'top_logprobs' is only allowed when 'logprobs' is true.", "top_logprobs")
    if None not in (request.max_tokens, request.max_completion_tokens):
        raise ApiError("'max_tokens' and 'max_completion_tokens' are the same: set only one of them.", "max_tokens")
    tools = plan_tools(request.tools, request.tool_choice, request.parallel_tool_calls)
    tokenizer = await open_text_side(context, model)
    plan = plan_sequences(
        request,
        own_settings(context, model),
        limit=request.max_completion_tokens if request.max_tokens is None else request.max_tokens,
        usual_limit=None,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
    check_count(1, plan.count)
    plan = plan.held_to(await _grammar(request, tools, plan.count))  # starts a process
    text = await _text(context, model, request, tools)
    ids = await encode_prompts(tokenizer, [text], "messages", special=False)
    check_room(model, ids, plan, "messages")
    form = PLAIN_CALLS if tools.forced else TOOL_FORMATS.get(model.purpose.tool_calls)
    if form is None or not tools.shown:
        return CompletionJob(model, ChatForm(), plan, ids)
    plan = replace(plan, order={**plan.order, "special_tokens": form.special})
    return CompletionJob(model, ToolChatForm(form, tools), plan, ids)


async def _grammar(request: ChatRequest, tools: ToolPlan, sequences: int) -> GrammarSource | None:
    """Return what the texts of so many sequences must be, None if that is open; raise `ApiError` if they cannot."""
    grammar = await checked_structure(request, sequences)
    if not tools.forced:
        return grammar
    if grammar is not None:
        raise ApiError("The text cannot be calls of tools and of another form: leave out one of them.", "tool_choice")
    return await forced_grammar(tools)


async def _text(context: Context, model: ServedModel, request: ChatRequest, tools: ToolPlan) -> str:
    """Return the conversation as the model reads it; raise `ApiError` if it has no template, or one that refuses it."""
    variables = {
        **template_variables(request.chat_template_kwargs),
        "messages": conversation(request.messages),
        "tools": tools.shown or None,
        "documents": request.documents,
        "add_generation_prompt": request.add_generation_prompt,
    }
    purpose = model.purpose
    directory = context.dataplane.model_files(purpose.tokenizer, "")
    templates = await asyncio.to_thread(read_templates, directory, purpose.chat_template)
    if templates is None:
        raise ApiError(
            f"The model '{model.name}' has no chat template, so it does not know conversations: use /v1/completions.",
            "model",
            kind="model_not_supported",
        )
    try:
        template = templates.chosen(request.chat_template or "", tools=bool(tools.shown))
    except SlipwayError as error:
        raise ApiError(error.message, "chat_template") from None
    try:
        return await shared_renderer().render_soon(template, {**templates.tokens, **variables})
    except SlipwayError as error:
        if error.code is not Code.INVALID_ARG:
            raise
        raise ApiError(error.message, "messages") from None
