"""`t2t-query-server`: send texts to a served model as tensor2tensor does, as serialized tf.train.Examples."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.example import encode_example
from slipway.checkpoints.tensor2tensor.subwords import END_ID, PAD_ID, SubwordTextEncoder
from slipway.cli.client import Answer, CommandClient, open_client
from slipway.cli.client_key import KEY_FILE_HELP, key_headers
from slipway.cli.description import InputTensor, ModelDescription
from slipway.cli.peer import spoken_protocol
from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.cli.tensor2tensor.trained import find_vocabulary_of
from slipway.cli.tls import Address
from slipway.config.flags import DIRECTORY, POSITIVE_FLOAT, TEXT, Kind, choice
from slipway.errors import invalid
from slipway.runtime.tensor2tensor_model import EXAMPLE, OUTPUT_IDS, SCORES

_AUTO: Final = "auto"
_SECURE: Final = ("https", "grpcs")
_QUIT: Final = "q"


@dataclass(frozen=True, slots=True)
class QueryFlags:
    """The flags of `t2t-query-server`."""

    server: str = flag("", Kind("HOST:PORT", str), "address of the server, for HTTP or gRPC; https:// encrypts")
    servable_name: str = flag("", TEXT, "model to send the texts to")
    problem: str = flag("", TEXT, "problem that the model was trained for")
    data_dir: Path | None = flag(None, DIRECTORY, "directory of the problem's vocabulary")
    t2t_usr_dir: Path | None = flag(None, DIRECTORY, "directory of own problems, in problems.toml")
    inputs_once: str = flag("", TEXT, "text to send; without it, texts are read from standard input")
    timeout_secs: float = flag(10.0, POSITIVE_FLOAT, "seconds to wait for a response")
    api_key_file: str = flag("", Kind("FILE", str), KEY_FILE_HELP)
    protocol: str = flag(_AUTO, choice(_AUTO, "http", "grpc"), "protocol of the server; auto finds it out")


COMMAND: Final = AbslCommand(
    "t2t-query-server",
    "Send texts to a model on a running server as serialized examples, and print its outputs and their scores.",
    QueryFlags,
    required=("server", "servable_name", "problem", "data_dir"),
    ignored={
        "cloud_mlengine_model_name": "only servers are queried",
        "cloud_mlengine_model_version": "only servers are queried",
    },
)


def run(arguments: Sequence[str]) -> int:
    """Send one text, or each line of standard input until "q"; print inputs, outputs and scores; return 0."""
    flags = read_flags(COMMAND, arguments)
    vocabulary = SubwordTextEncoder.load(_vocabulary(flags))
    headers = key_headers(None, Path(flags.api_key_file) if flags.api_key_file else None, ())
    client = open_client(flags.server, _protocol(flags), timeout_s=flags.timeout_secs, headers=headers)
    model = client.describe(flags.servable_name, "")
    if EXAMPLE not in model.inputs or OUTPUT_IDS not in model.outputs:
        names = ", ".join((*model.inputs, *model.outputs))
        raise invalid(
            f"model '{model.name}' does not take serialized examples: it needs the input '{EXAMPLE}' and the output "
            f"'{OUTPUT_IDS}', but has {names}"
        )

    def ask(text: str) -> None:
        print(_shown(text, _answer(client, model, vocabulary, text), vocabulary), flush=True)

    if flags.inputs_once:
        ask(flags.inputs_once)
    else:
        _ask_for_each_line(ask)
    return 0


def _ask_for_each_line(ask: Callable[[str], None]) -> None:
    while True:
        if sys.stdin.isatty():
            print(">> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() == _QUIT:
            return
        ask(line.strip())


def _vocabulary(flags: QueryFlags) -> Path:
    if flags.data_dir is None:
        raise invalid("--data_dir is empty")
    return find_vocabulary_of(flags.problem, flags.data_dir, flags.t2t_usr_dir)


def _protocol(flags: QueryFlags) -> str:
    if flags.protocol != _AUTO:
        return flags.protocol
    scheme, separator, rest = flags.server.partition("://")
    encrypted = bool(separator) and scheme in _SECURE
    address = Address.of(rest.rstrip("/") if separator else flags.server, encrypted=encrypted, flag="--server")
    return spoken_protocol(address) or "http"


def _answer(client: CommandClient, model: ModelDescription, vocabulary: SubwordTextEncoder, text: str) -> Answer:
    example = encode_example({"inputs": [*vocabulary.encode(text), END_ID]})
    sent = np.array([[example]], np.object_) if model.most_rows else np.array([example], np.object_)
    return client.infer(model, {EXAMPLE: InputTensor("BYTES", sent)})


def _shown(text: str, answer: Answer, vocabulary: SubwordTextEncoder) -> str:
    """Return an input with its output and score, or with those of every beam."""
    ids = answer[OUTPUT_IDS].reshape(-1, answer[OUTPUT_IDS].shape[-1]).tolist()
    scores = answer[SCORES].reshape(-1).tolist() if SCORES in answer else [None] * len(ids)
    parts = [f"Input:\n{text}"]
    for beam, score in zip(ids, scores, strict=True):
        head = "Output" if score is None else f"Output (Score {score:.3f})"
        parts.append(f"{head}:\n{_text(beam, vocabulary)}")
    return "\n\n".join(parts) + "\n"


def _text(ids: Sequence[int], vocabulary: SubwordTextEncoder) -> str:
    end = ids.index(END_ID) if END_ID in ids else len(ids)
    return vocabulary.decode(each for each in ids[:end] if each != PAD_ID)
