"""`slipway chat MODEL|URL|SOURCE`: talk to a model in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.cli.chat.conversation import Conversation
from slipway.cli.chat.loop import ChatLoop
from slipway.cli.chat.options import chat_parser, sampling_fields
from slipway.cli.chat.screen import ChatScreen
from slipway.cli.chat.target import opened_target
from slipway.cli.interruption import terminated_by_sigterm


def run(arguments: Sequence[str]) -> int:
    """Chat until the input ends; return the exit code. Raise `SlipwayError` if the server or model does not exist, or
    if a message of a script is refused."""
    options = chat_parser().parse_args(arguments)
    with terminated_by_sigterm(), opened_target(options) as (client, model):
        conversation = Conversation(
            model.name, sampling_fields(options), system=options.system or "", context=model.context
        )
        ChatLoop(client, conversation, ChatScreen.standard()).run()
    return 0
