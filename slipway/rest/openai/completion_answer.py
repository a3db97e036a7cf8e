"""Answers a request for sequences: with one document when all are complete, or with a chunk for each piece of text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from slipway.core.large_work import LARGE_COUNT, run_large
from slipway.errors import SlipwayError
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.completion_forms import AnswerForm, AnswerIdentity
from slipway.rest.openai.errors import ApiError, openai_envelope
from slipway.rest.openai.generation_metrics import AnswerTimes
from slipway.rest.openai.sampling import CompletionPlan
from slipway.rest.openai.sequences import Event, run_sequences
from slipway.rest.openai.served import ServedModel
from slipway.rest.openai.usage import Usage
from slipway.rest.response import HTTP_STATUS, JSON

_EVENTS: Final = b"Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
_COMMENT: Final = b": \n\n"  # ignored by clients (WHATWG HTML, 9.2.6)
_MANY_LOG_PROBABILITIES: Final = 1024  # writing them takes about 1 ms
_MOST_LOG_PROBABILITIES: Final = 1 << 19  # of an answer in one piece, all sequences together; they take 200 MB
_DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class CompletionJob:
    """What is to be answered: prompts of token ids, the texts to repeat before their completions (`echoes`, or none),
    and how; `arrival` is when the request came (`time.monotonic`)."""

    model: ServedModel
    form: AnswerForm
    plan: CompletionPlan
    prompts: Sequence[Sequence[int]]
    echoes: Sequence[str] = ()
    arrival: float = field(default_factory=time.monotonic)

    def echo(self, place: int) -> str:
        """Return what is repeated before the sequence at `place`."""
        return self.echoes[place // self.plan.count] if self.echoes else ""


async def answer_completions(context: Context, exchange: Exchange, job: CompletionJob) -> None:
    """Generate and answer; raise `SlipwayError` if that fails before a stream has begun."""
    counted = sum(map(len, job.prompts)) * job.plan.count
    large = counted > LARGE_COUNT
    orders = await run_large(job.plan.orders, job.prompts) if large else job.plan.orders(job.prompts)
    times = context.generation.begin(context.dataplane.metrics, job.model.name, job.arrival, counted, len(orders))
    try:
        await _answer(context, exchange, job, orders, times)
    finally:
        times.end()


async def _answer(
    context: Context, exchange: Exchange, job: CompletionJob, orders: Sequence[bytes], times: AnswerTimes
) -> None:
    if not job.plan.stream:
        collected = _Collected(job, len(orders), times)
        await run_sequences(context, exchange, job.model.purpose.completions, orders, collected.receive)
        large = collected.log_probabilities > _MANY_LOG_PROBABILITIES
        exchange.answer(200, JSON, await run_large(collected.encoded) if large else collected.encoded())
        return
    stream = _Stream(exchange, job, times)
    exchange.on_half_close = stream.probe
    try:
        await run_sequences(context, exchange, job.model.purpose.completions, orders, stream.receive)
    except SlipwayError as error:
        if not stream.begun:
            raise
        stream.fail(error)
    else:
        stream.close()


@dataclass(slots=True)
class _Sequence:
    """What has come of one sequence."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[Any] | None = None
    reason: str = ""
    tokens: int = 0
    log_probability: float = 0.0

    def add(self, event: Event) -> None:
        self.texts.append(event["text"])
        if "logprobs" in event:
            self.logprobs = self.logprobs or []
            self.logprobs += event["logprobs"]
        if "finish_reason" in event:
            self.reason, self.tokens = event["finish_reason"], event["tokens"]
            self.log_probability = event["log_probability"]

    @property
    def score(self) -> float:
        """The log-probability of a token, on average: OpenAI's rank for `best_of`."""
        return self.log_probability / max(1, self.tokens)


class _Collected:
    """The sequences of an answer in one document."""

    def __init__(self, job: CompletionJob, count: int, times: AnswerTimes) -> None:
        self._job = job
        self._times = times
        self._sequences = [_Sequence() for _ in range(count)]
        self.log_probabilities = 0

    def receive(self, place: int, event: Event) -> None:
        """Add an event; raise `ApiError` if they become more than one answer can hold."""
        self._times.note(place, event, streams=False)
        self._sequences[place].add(event)
        self.log_probabilities += sum(1 + len(token["top"]) for token in event.get("logprobs", ()))
        if self.log_probabilities > _MOST_LOG_PROBABILITIES:
            raise ApiError(
                f"The answer has more than {_MOST_LOG_PROBABILITIES} log-probabilities: generate less text or fewer "
                "sequences, or set 'stream' to true.",
                "logprobs",
                status=413,
            )

    def encoded(self) -> bytes:
        """Return the answer as JSON. Each choice is a call of its own, which holds the interpreter lock."""
        job, plan = self._job, self._job.plan
        choices: list[orjson.Fragment] = []
        for first in range(0, len(self._sequences), plan.count):
            places = list(range(first, first + plan.count))
            if plan.count > plan.choices:
                places.sort(key=lambda place: -self._sequences[place].score)
            for place in places[: plan.choices]:
                found = self._sequences[place]
                text = job.echo(place) + "".join(found.texts)
                choice = job.form.choice(len(choices), text, found.logprobs, found.reason)
                choices.append(orjson.Fragment(orjson.dumps(choice)))
        head = AnswerIdentity.new(job.form, job.model.name)
        usage = Usage(sum(map(len, job.prompts)), sum(each.tokens for each in self._sequences))
        return orjson.dumps({**head.document(job.form.whole, choices), "usage": usage.document()})


class _Stream:
    """The chunks of an answer. The first one decides that the HTTP status is 200."""

    def __init__(self, exchange: Exchange, job: CompletionJob, times: AnswerTimes) -> None:
        self._exchange = exchange
        self._times = times
        self._job = job
        self._head = AnswerIdentity.new(job.form, job.model.name)
        self._opened: set[int] = set()
        self._tokens = 0
        self.begun = False

    def receive(self, place: int, event: Event) -> None:
        """Send an event."""
        self._times.note(place, event, streams=True)
        form, text = self._job.form, event["text"]
        if place not in self._opened:
            self._opened.add(place)
            text = self._job.echo(place) + text
            opening = form.opening(place)
            if opening is not None:
                self._send([opening])
        for choice in form.pieces(place, text, event.get("logprobs"), event.get("finish_reason")):
            self._send([choice])
        self._tokens += event.get("tokens", 0)

    def close(self) -> None:
        """Send the usage, if it is wanted, and the end."""
        self._begin()
        if self._job.plan.include_usage:
            usage = Usage(sum(map(len, self._job.prompts)), self._tokens)
            self._send([], usage.document())
        self._exchange.stream(_DONE)
        self._exchange.end_stream()

    def fail(self, error: SlipwayError) -> None:
        """Send an error in place of the rest."""
        _, document = openai_envelope(HTTP_STATUS[error.code], error.message, error)
        self._exchange.stream(b"data: %b\n\n" % document)
        self._exchange.end_stream()

    def probe(self) -> None:
        """Send a comment, which fails if the client has closed the connection and not only its own side of it."""
        self._begin()
        self._exchange.stream(_COMMENT)

    def _send(self, choices: Sequence[dict[str, Any]], usage: dict[str, int] | None = None) -> None:
        self._begin()
        document = self._head.document(self._job.form.chunk, choices)
        if self._job.plan.include_usage:
            document["usage"] = usage
        self._exchange.stream(b"data: %b\n\n" % orjson.dumps(document))

    def _begin(self) -> None:
        self.begun = True
        self._exchange.begin_stream(200, _EVENTS)
