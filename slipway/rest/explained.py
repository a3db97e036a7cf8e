"""Whether a request over HTTP is explained (`slipway_explain`), by its header, and whether it may be.

An explanation says what a model's configuration and statistics also say, so it needs the headers that these APIs need
if they are restricted.
"""

from __future__ import annotations

from slipway.config.restrictions import EXPLAINING_GROUPS, refusal_text
from slipway.core.explanation import EXPLAIN, EXPLAIN_HEADER, Explanation, is_wanted
from slipway.core.request import InferRequest
from slipway.errors import SlipwayError, unsupported
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON, error_body


def admit(context: Context, exchange: Exchange, request: InferRequest) -> bool:
    """Let a request be explained if its header asks for that; return False if it has been refused. Raise `SlipwayError`
    for a header that does not say whether, and where nothing is explained."""
    header = exchange.head.explain
    try:
        if header is not None and is_wanted(header.decode("latin-1")) and request.explanation is None:
            request.explanation = Explanation()
        if request.explanation is None:
            return True
        if not context.options.explains:
            raise unsupported(f"'{EXPLAIN}' and the header '{EXPLAIN_HEADER}' are not supported on this port")
    except SlipwayError:
        context.dataplane.record_rejected(request.model_name, request.model_version)
        raise
    for group in EXPLAINING_GROUPS:
        restriction = context.options.restrictions.get(group)
        if restriction is None:
            continue
        if not restriction.admits(exchange.headers.get(restriction.header.lower().encode())):
            context.dataplane.record_rejected(request.model_name, request.model_version)
            exchange.answer(403, JSON, error_body(refusal_text(restriction, "API")))
            return False
    return True
