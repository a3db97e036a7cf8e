"""A tiny GPT-2 that says what it was made to say: its weights are written by hand, so that each token is followed by
one other token. What it says depends on the last token of its prompt, which its chat template chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

END: Final = "<|endoftext|>"
POSITIONS: Final = 1 << 14  # so many tokens take longer to generate than a test needs to stop them
_SURE: Final = 10.0  # how far the following token is above all others


def write_steered(
    directory: Path,
    answers: Mapping[str, Sequence[str]],
    template: str,
    *,
    special: Sequence[str] = (),
    positions: int = 512,
) -> Path:
    """Write a checkpoint that follows each token among the keys of `answers` with its pieces, and then ends; an answer
    whose last piece is also its first goes round for ever. All pieces are different tokens, of which those in `special`
    are special ones. `template` has to end with one of the keys."""
    import torch
    import transformers as hf
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = list(dict.fromkeys(piece for pieces in answers.values() for piece in pieces))
    added = [*answers, END, *special]
    spelled = [_spelled(word) for word in words if word not in added]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys((*letters, *spelled)))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in added])
    directory.mkdir(parents=True, exist_ok=True)
    wrapped = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    wrapped.chat_template = template
    wrapped.save_pretrained(directory)

    def number(word: str) -> int:
        return int(tokenizer.token_to_id(word if word in added else _spelled(word)))

    size = tokenizer.get_vocab_size()
    end = number(END)
    following = [end] * size
    for key, pieces in answers.items():
        chain = [number(key), *map(number, pieces)]
        for token, after in zip(chain, [*chain[1:], end], strict=True):
            if following[token] == end:  # the last piece of an answer that goes round has its follower already
                following[token] = after
    width = size + size % 2
    config = hf.GPT2Config(
        vocab_size=size,
        n_embd=width,
        n_inner=width,
        n_layer=1,
        n_head=2,
        n_positions=positions,
        bos_token_id=end,
        eos_token_id=end,
    )
    model = hf.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        body = model.transformer
        body.wte.weight[:, :size] = torch.eye(size)
        for norm in (body.h[0].ln_1, body.h[0].ln_2, body.ln_f):
            norm.weight.fill_(1.0)
        mlp = body.h[0].mlp
        mlp.c_fc.weight[:] = torch.eye(width)
        mlp.c_fc.bias.fill_(-_SURE / 2)  # only the token itself passes
        mlp.c_proj.weight[torch.arange(size), torch.tensor(following)] = _SURE
    model.save_pretrained(directory)
    return directory


def _spelled(word: str) -> str:
    """Return a word in the letters of a byte-level vocabulary."""
    from tokenizers import pre_tokenizers

    (piece, _), *others = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)
    assert not others
    return str(piece)


TOOL_TEMPLATE: Final = """\
{%- for tool in tools or [] %}{{ tool | tojson }}
{% endfor -%}
{%- for message in messages %}
[{{ message.role }}] {{ message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}
{% endfor -%}
{%- if not add_generation_prompt %}{% elif messages[-1].content == "go on" %}<endless>
{%- elif messages[-1].role == "tool" %}<answer>{% elif tools %}<call>{% else %}<plain>{% endif -%}
"""
CALL_PIECES: Final = (
    "Let me look. ",
    "<tool_call>",
    '\n{"name": "',
    'distance", ',
    '"arguments": {"body": "',
    "Moon",
    '"}}\n',
    "</tool_call>",
)
_ANSWERS: Final = {
    "<call>": CALL_PIECES,
    "<answer>": ("It is ", "384,400 km", " away."),
    "<plain>": ("No tools ", "here."),
    "<endless>": ("round", " and ", "round"),
}


def write_tool_caller(directory: Path) -> Path:
    """Write a model that calls the function `distance` if it has tools, speaks of its result, and goes on for ever when
    told to."""
    return write_steered(
        directory, _ANSWERS, TOOL_TEMPLATE, special=("<tool_call>", "</tool_call>"), positions=POSITIONS
    )
