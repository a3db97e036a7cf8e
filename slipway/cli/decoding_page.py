"""docs/decoding.md: every parameter that says how text is generated, for each kind of generating model.

`python -m slipway.cli.decoding_page FILE` (`make docs`) writes the page from the tables with which requests are read;
what the parameters mean is said here. Decides nothing itself.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

from slipway.backends.fastertransformer.completion import DECODING
from slipway.backends.lightseq.decoding import SEED_PARAMETER
from slipway.checkpoints.tensor2tensor.decode_hparams import ONLY_VALUES, WITHOUT_EFFECT, DecodeHParams
from slipway.cli.markdown import code, table
from slipway.rest.openai.refused_fields import OF_CHATS, OF_COMPLETIONS
from slipway.rest.openai.sampling import LIMITS
from slipway.runtime.arguments import ARGUMENTS, PARAMETERS, STOP, STOP_NAMES, Argument
from slipway.runtime.grammars.checking import MEMORY, SECONDS
from slipway.runtime.grammars.source import GRAMMARS, MOST_CHARACTERS

_HEAD: Final = """# Decoding parameters

How text is generated can be set for each request. What may be set depends on the kind of the model; an unknown name is
refused with the nearest known one. All ranges include their limits. `make docs` writes this page from the tables with
which the server reads requests.
"""
_CONVERTED: Final = """\
Each parameter is an optional input of the models `NAME` and `NAME-stream` that `slipway convert` writes, one value per
row, or a parameter of the request that holds for all rows; those of the second table are only parameters. `slipway
infer` takes them as flags, `--max-new-tokens 20`. A request that does not set one gets what the checkpoint's
generation_config.json says, which stands as a parameter of this name in the config.pbtxt of `NAME-model`."""
_GRAMMARS: Final = """\
One of these parameters may say what the generated text must be, for all rows of a request. It needs the extra
`structured` (`pip install "slipway-serving[structured]"`), and works with greedy search, sampling and beams."""
_FOLLOWED: Final = f"""\
At each step only the tokens that the grammar allows can be generated, and the row ends when the text is complete; one
that reaches its maximum length first is cut off. A grammar has at most {MOST_CHARACTERS:,} characters. It is compiled
in a process of its own first, which may take {SECONDS:g} s and {MEMORY >> 20} MiB: one that takes more, that no text
can follow, or that has a keyword which is not supported is refused with the reason. White space between the parts of a
JSON text has at most 20 characters. If other settings forbid every token that the grammar allows, the grammar wins."""
_OPENAI: Final = """\
The fields of `/v1/completions` and `/v1/chat/completions` that are numbers; [chat.md](chat.md) says what they and the
others mean."""
_REFUSED: Final = "These fields are refused, unless their value asks for nothing:"
_FASTERTRANSFORMER: Final = "Optional inputs, one value per row, as in FasterTransformer's backend."
_LIGHTSEQ: Final = f"""\
The file of the model holds all settings, as in LightSeq. A request may set the parameter `{SEED_PARAMETER}` (0 to
2^63 - 1), which makes sampling repeatable; the model's parameter `RANDOM_SEED` is its default, and without both each
request gets a random one."""
_TENSOR2TENSOR: Final = """\
Settings of `--decode_hparams`, which `t2t-exporter` writes into the export and which the served model uses. A request
may set `beam_size`, `alpha` and `extra_length`."""

# What the parameters of converted models mean, by the name in the table of arguments.
MEANINGS: Final = {
    "max_output_len": "maximum number of generated tokens",
    "min_length": "minimum number of generated tokens: the end token is not chosen before",
    "beam_width": "number of beams; 1 is greedy search or sampling",
    "runtime_top_k": "sample from the k most likely tokens; 0 and 1 do not sample by it",
    "runtime_top_p": "sample from the most likely tokens that have this probability together; 0 does not sample by it",
    "temperature": "divides the scores before sampling; 0 is greedy search",
    "repetition_penalty": "divides positive scores of earlier tokens and multiplies negative ones; 1 changes nothing",
    "presence_penalty": "is subtracted from the score of each token that has occurred",
    "len_penalty": "exponent of the length by which a beam's score is divided",
    "early_stopping": "end beam search once there are enough finished beams; `never` goes on until no beam can win",
    "random_seed": "seed of sampling: equal seeds give equal texts",
    "num_return_sequences": "number of texts for each row; at most the number of beams, unless tokens are sampled",
    "forced_first_id": "id of the first generated token: the target language of M2M100 and mBART",
    "do_sample": "sample, from the 50 most likely tokens unless another parameter chooses; `false` is greedy search",
    "no_repeat_ngram_size": "no sequence of so many tokens occurs twice; 0 allows it",
    "min_p": "leave out tokens less likely than this share of the most likely one",
    "max_length": "maximum length as transformers counts it, with the prompt or the start token",
    "min_total_length": "minimum length, counted in the same way",
    "encoder_no_repeat_ngram_size": "no sequence of so many tokens of the source text occurs; 0 allows it",
    "encoder_repetition_penalty": "above 1, prefers the tokens of the source text",
    "typical_p": "keep the tokens whose information is nearest to the expected one, up to this probability together",
    "top_h": "keep the most likely tokens up to this share of the distribution's entropy; 0 is off",
    "epsilon_cutoff": "leave out tokens less likely than this",
    "eta_cutoff": "the same, with a limit that follows the entropy of the distribution",
    "frequency_penalty": "is subtracted from the score of each generated token, once for each time; not the prompt's",
    "output_presence_penalty": "is subtracted from the score of each token that was generated; not the prompt's",
    "ignore_eos": "end tokens do not end the text",
    "renormalize_logits": "normalise the scores again after all others have changed them",
    "remove_invalid_values": "replace scores that are not numbers",
}
# What the text must be: name -> value, meaning.
GRAMMAR_MEANINGS: Final = {
    "json_schema": ("JSON schema, an object or its text", "the text is JSON that is valid under the schema"),
    "json_object": ("true or false", "the text is a JSON object"),
    "regex": ("text", "the whole text matches the regular expression, in the syntax of Rust's crate `regex`"),
    "choice": ("list of texts, or its JSON", "the text is one of these"),
    "grammar": (
        "text",
        "the text is a sentence of the grammar, in the syntax of Lark (as llguidance reads it) or GBNF",
    ),
}
LIST_MEANINGS: Final = {
    "stop_token_ids": ("list of ids, or its JSON", "tokens that end the text, beside the end tokens of the model"),
    "allowed_token_ids": ("list of ids, or its JSON", "the only tokens that may be generated, with the end tokens"),
    "logit_bias": ("object of ids and numbers, or its JSON", "is added to the scores of these tokens, -100 to 100"),
}
# The same for FasterTransformer's.
FASTERTRANSFORMER: Final = {
    "runtime_top_k": "sample from the k most likely tokens; clipped to 0 to 1024",
    "runtime_top_p": "sample from the most likely tokens with this probability together; clipped to 0 to 1",
    "beam_search_diversity_rate": "beams: is added to the score by rank, for different beams",
    "temperature": "divides the scores",
    "len_penalty": "exponent of the length by which a beam's score is divided",
    "repetition_penalty": "divides positive scores of earlier tokens and multiplies negative ones; above 0",
    "presence_penalty": "is subtracted from the score of each token that has occurred; not with `repetition_penalty`",
    "min_length": "minimum number of generated tokens",
    "random_seed": "seed of sampling",
    "is_return_log_probs": "return the log-probability of each token",
    "beam_width": "number of beams; row 0 decides for the request",
    "start_id": "first input of the decoder",
    "end_id": "token that ends a sequence",
    "bad_words_list": "words that are never generated, as FasterTransformer's pairs of ids and offsets",
    "stop_words_list": "words that end the sequence, in the same form",
    "prompt_learning_task_name_ids": "index of the stored prompt table (p-tuning, prefix-tuning)",
    "request_prompt_lengths": "rows of the prompt table in the request",
    "request_prompt_embedding": "a prompt table of the request",
    "top_p_decay": "factor by which `runtime_top_p` shrinks with each token; 1 outside (0, 1]",
    "top_p_min": "the least that it shrinks to; 0.5 outside (0, 1]",
    "top_p_reset_ids": "token after which it starts again",
}
_NUMBER_NAMES: Final = {"UINT32": "whole number", "UINT64": "whole number", "FP32": "number", "BOOL": "true or false"}


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_HEAD, *(f"{head}\n\n{text}\n" for head, text in _sections())])


def _sections() -> Iterator[tuple[str, str]]:
    heads = ("Name", "Other names", "Value", "Meaning")
    stop = (
        code(STOP),
        code(*STOP_NAMES[1:]),
        "texts",
        "texts that end the generation as soon as one of them is generated",
    )
    yield "## Converted text generators", _CONVERTED
    yield "### Inputs and parameters", table(heads, [*map(_argument, ARGUMENTS), stop])
    lists = ((code(name), "", *meaning) for name, meaning in LIST_MEANINGS.items())
    yield "### Parameters only", table(heads, [*map(_argument, PARAMETERS), *lists])
    grammars = ((code(each.name), code(each.guided), *GRAMMAR_MEANINGS[each.name]) for each in GRAMMARS)
    yield "### What the text must be", f"{_GRAMMARS}\n\n{table(heads, grammars)}\n\n{_FOLLOWED}"
    limits = ((code(name), f"{_written(least)} to {_written(most)}") for name, (least, most) in LIMITS.items())
    yield "## OpenAI's routes", f"{_OPENAI}\n\n{table(('Field', 'Value'), limits)}"
    refused = ((code(name), why) for name, (_, why) in {**OF_COMPLETIONS, **OF_CHATS}.items())
    yield "### Refused fields", f"{_REFUSED}\n\n{table(('Field', 'Why'), refused)}"
    inputs = ((code(each.name), code(each.data_type), FASTERTRANSFORMER[each.name]) for each in DECODING)
    yield "## FasterTransformer's models", f"{_FASTERTRANSFORMER}\n\n{table(('Input', 'Datatype', 'Meaning'), inputs)}"
    yield "## LightSeq's models", _LIGHTSEQ
    yield "## tensor2tensor's models", f"{_TENSOR2TENSOR}\n\n{_hparams()}"


def _argument(argument: Argument) -> tuple[str, str, str, str]:
    value = _NUMBER_NAMES[argument.datatype]
    if argument.datatype != "BOOL":
        most = (
            f"{argument.least:g} or more" if math.isinf(argument.most) else f"{argument.least:g} to {argument.most:g}"
        )
        value = f"{value}, {most}"
    return code(argument.name), code(*argument.aliases), value, MEANINGS[argument.name]


def _written(limit: float) -> str:
    """Return a limit, large ones as powers of two."""
    if limit > 1 << 20:
        return f"2^{math.log2(limit + 1):g} - 1"
    return f"-2^{math.log2(-limit):g}" if limit < -(1 << 20) else f"{limit:g}"


def _hparams() -> str:
    defaults = DecodeHParams()
    rows = [(code(each.name), code(repr(getattr(defaults, each.name))), "") for each in fields(DecodeHParams)]
    rows += [(code(name), code(repr(value)), "any other value is refused") for name, value in ONLY_VALUES.items()]
    rows += [(code(name), "", "without effect on a translation") for name in sorted(WITHOUT_EFFECT)]
    return table(("Setting", "Default", "Note"), rows)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
