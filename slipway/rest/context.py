"""The arguments of every route handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tritonclient.grpc.model_config_pb2 import ModelConfig

from slipway.config.header_pattern import HeaderPattern
from slipway.config.purpose import Purpose
from slipway.config.restrictions import Restriction
from slipway.core.repeats import Repeats
from slipway.engine.api import Dataplane
from slipway.rest.access import Access
from slipway.rest.exchange import Exchange
from slipway.rest.framing import HttpHead
from slipway.rest.openai.generation_metrics import GenerationMetrics
from slipway.rest.openai.tokenizing import Tokenizers
from slipway.rest.page.page import Page
from slipway.rest.response import Envelope


@dataclass(frozen=True, slots=True)
class RestOptions:
    """Settings of the HTTP front."""

    max_input_size: int = 64 << 20  # maximum size of a decompressed body, in bytes
    access: Access = field(default_factory=Access)  # the names that the server answers to
    restrictions: Mapping[str, Restriction] = field(default_factory=dict)  # by group of APIs
    forward: HeaderPattern | None = None  # the headers that become parameters of infer requests
    openai: bool = True  # serve the routes of OpenAI's API and its kin too
    explains: bool = True  # requests may ask to be explained
    page: Page = field(default_factory=Page)  # in the browser


@dataclass(frozen=True, slots=True)
class Context:
    """The dataplane, the front's settings, and what it keeps about the models that it served."""

    dataplane: Dataplane
    options: RestOptions = field(default_factory=RestOptions)
    purposes: dict[str, tuple[ModelConfig, Purpose | None]] = field(default_factory=dict)  # of these configs, by model
    tokenizers: Tokenizers = field(default_factory=Tokenizers)
    generation: GenerationMetrics = field(default_factory=GenerationMetrics)
    repeats: Repeats[HttpHead] | None = None  # if there is a response cache


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """The model and version in a path; the version is "" if the path has none. A region's name is in `model`."""

    model: str = ""
    version: str = ""


Route = Callable[[Context, Exchange, ModelTarget], None]


class Match(NamedTuple):
    """The route of a request: its HTTP method, its handler, the group of APIs by which it may be restricted
    (`config.restrictions.GROUPS`), the model and version that it names, whether it changes the server's state, a
    second method, if it has one, and the form of its errors, if it is not the usual one."""

    method: bytes
    handler: Route
    group: str
    target: ModelTarget = ModelTarget()
    changes_state: bool = False
    other: bytes = b""
    envelope: Envelope | None = None
