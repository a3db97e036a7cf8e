"""Which of the served models a request means, and what that model is for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from tritonclient.grpc import model_config_pb2

from slipway.config.purpose import Purpose, Use, purpose_of
from slipway.core.signature import ModelSignature
from slipway.errors import Code, SlipwayError, shown
from slipway.nearest import nearest_or_all
from slipway.rest.context import Context
from slipway.rest.openai.errors import ApiError

_VERBS = {
    Use.EMBED: "embeds texts",
    Use.CLASSIFY: "classifies texts",
    Use.CHOOSE: "chooses among labels",
    Use.RERANK: "reranks texts",
    Use.GENERATE: "generates text",
}


class ServedModel(NamedTuple):
    """A model of the server, the highest version that it serves."""

    name: str
    purpose: Purpose
    signature: ModelSignature
    config: model_config_pb2.ModelConfig


def served_models(context: Context) -> Iterator[ServedModel]:
    """Yield the ready models whose purpose is known, by name."""
    names = dict.fromkeys(entry.name for entry in context.dataplane.repository_index(ready_only=True))
    for name in names:
        try:
            model = _look_up(context, name)
        except SlipwayError:  # no client can call it: its name means several models, or it is being unloaded
            continue
        if model is not None:
            yield model


def find_model(context: Context, name: str) -> ServedModel:
    """Return the model with a name; raise `ApiError`, with OpenAI's status, if there is none, or UNAVAILABLE if it is
    not ready."""
    try:
        model = _look_up(context, name)
    except SlipwayError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        raise _unknown(context, name, "does not exist") from None
    if model is None:
        raise _unknown(context, name, "does not answer requests of this API: its purpose is not known")
    return model


def choose_model(context: Context, name: str | None, *uses: Use) -> ServedModel:
    """Return the model that a request means and that serves one of `uses`: without a name, the only one that does.
    Raise `ApiError` if there is none, or more than one without a name."""
    if name is not None:
        model = find_model(context, name)
        if model.purpose.use not in uses:
            raise ApiError(
                f"The model '{shown(name)}' {_VERBS[model.purpose.use]}, but this request needs one that "
                f"{' or '.join(_VERBS[use] for use in uses)}.",
                "model",
                kind="model_not_supported",
            )
        return model
    fitting = [model for model in served_models(context) if model.purpose.use in uses]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        what = " or ".join(_VERBS[use] for use in uses)
        raise ApiError(f"The server has no model that {what}.", "model", kind="model_not_found", status=404)
    names = ", ".join(model.name for model in fitting)
    raise ApiError(f"The server has several models for this request: specify 'model' ({names}).", "model")


def _look_up(context: Context, name: str) -> ServedModel | None:
    """Return a model, None if its purpose is not known; raise `SlipwayError` if it is not served."""
    dataplane, purposes = context.dataplane, context.purposes
    config = dataplane.model_config(name, "")
    known = purposes.get(name)
    if known is None or known[0] is not config:  # a reload makes another config
        known = purposes[name] = config, purpose_of(config)
    purpose = known[1]
    return None if purpose is None else ServedModel(name, purpose, dataplane.signature(name, ""), config)


def _unknown(context: Context, name: str, what: str) -> ApiError:
    known = _names(context)
    near = nearest_or_all(name, known) if known else ""
    return ApiError(f"The model '{shown(name)}' {what}{near}", "model", kind="model_not_found", status=404)


def _names(context: Context) -> Collection[str]:
    return [model.name for model in served_models(context)]
