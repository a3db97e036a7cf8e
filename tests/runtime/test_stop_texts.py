"""A stop text is complete with the token in which it ends, whatever its borders are: tokens, characters or bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from slipway.runtime.stop_texts import StopTextsOfRow, TokenBytes
from tests.runtime.grammars.test_compiler import WRITERS

TEXT = "yes é東🙂 no: ab, \n\t12 🙃 naïve the cat sat"


@pytest.fixture(scope="module", params=WRITERS)
def tokenizer(request, tmp_path_factory) -> Tokenizer:
    directory: Path = tmp_path_factory.mktemp("tokenizer")
    WRITERS[request.param][0](directory)
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def test_the_bytes_of_tokens_make_up_the_text(tokenizer):
    tokens = TokenBytes(tokenizer)
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    data = b"".join(map(tokens.of, ids))
    assert data.removeprefix(b" " if tokens.loses_first_space else b"") == TEXT.encode()
    assert tokenizer.decode(ids) == TEXT


def test_a_stop_text_is_met_by_the_token_in_which_it_ends(tokenizer):
    tokens = TokenBytes(tokenizer)
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    whole = b"".join(map(tokens.of, ids))
    chance = random.Random(2)
    for _ in range(300):
        begin = chance.randrange(len(TEXT) - 1)
        stop = TEXT[begin : begin + chance.randint(1, 6)].encode()
        row = StopTextsOfRow((b"not there", stop), tokens)
        met = [length for length in range(1, len(ids) + 1) if row.met(ids[:length])]
        ends = [place + len(stop) for place in range(len(whole)) if whole.startswith(stop, place)]
        sizes = [len(b"".join(map(tokens.of, ids[:length]))) for length in range(len(ids) + 1)]
        expected = [at for at in range(1, len(ids) + 1) if any(sizes[at - 1] < end <= sizes[at] for end in ends)]
        assert met == expected
        assert met


def test_a_stop_text_may_begin_in_the_prompt(tokenizer):
    tokens = TokenBytes(tokenizer)
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    across = (tokens.of(ids[4]) + tokens.of(ids[5]),)
    assert StopTextsOfRow(across, tokens, tuple(ids[:5])).met([ids[5]])
    assert not StopTextsOfRow(across, tokens).met([ids[5]])
