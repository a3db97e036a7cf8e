"""Turn FasterTransformer's runtime arguments into the `Decoding` of each row.

Arguments without an effect are left at their defaults, so that engines can take their fast path: no temperature for
greedy search, no nucleus if only one token is left. Source: FasterTransformer `DynamicDecodeLayer`,
`setup_topk_runtime_args`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slipway.backends.fastertransformer.arguments import Arguments
from slipway.backends.fastertransformer.word_lists import WordListError, Words, bannable, read_words
from slipway.transformer.generation import Decoding, Search
from slipway.transformer.spec import Transformer


def asked(arguments: Arguments, name: str) -> bool:
    """Return whether a boolean argument is present and true."""
    array = arguments.array(name)
    return array is not None and bool(array.any())


def read_decodings(arguments: Arguments, spec: Transformer, beams: int, limits: Sequence[int]) -> list[Decoding]:
    """Return the decoding of each row, which may generate `limits` tokens; record problems."""
    plain = _plain(arguments, spec, limits)
    if beams > 1:
        penalties = arguments.column("len_penalty", 0.0)
        rates = arguments.column("beam_search_diversity_rate", 0.0)
        return [
            with_beams(decoding, beams, length_penalty=penalty, diversity=rate)
            for decoding, penalty, rate in zip(plain, penalties, rates, strict=True)
        ]
    ks, ps = arguments.whole("runtime_top_k", 0), arguments.column("runtime_top_p", 0.0)
    sampled = [with_sampling(decoding, k, p) for decoding, k, p in zip(plain, ks, ps, strict=True)]
    return _with_randomness(arguments, spec, sampled)


def with_beams(decoding: Decoding, beams: int, *, length_penalty: float, diversity: float) -> Decoding:
    """Return `decoding` with beam search."""
    return replace(
        decoding,
        search=Search.HUGGING_FACE,
        beam_width=beams,
        length_penalty=length_penalty,
        diversity=diversity,
    )


def with_sampling(decoding: Decoding, top_k: int, top_p: float) -> Decoding:
    """Return `decoding` as greedy (0 and 0, or k 1), top-k, nucleus p, or the nucleus within the top k."""
    if top_k == 1 or (top_k == 0 and top_p == 0.0):
        invariant = decoding.presence_penalty == 0.0 and not decoding.log_probabilities
        return replace(decoding, temperature=1.0) if invariant else decoding
    return replace(decoding, top_k=top_k, top_p=0.0 if top_k and top_p == 1.0 else top_p)


def _plain(arguments: Arguments, spec: Transformer, limits: Sequence[int]) -> list[Decoding]:
    """Return the settings that every search shares."""
    starts, ends = _ids(arguments, "start_id", spec.start_id, spec), _ids(arguments, "end_id", spec.end_id, spec)
    temperatures, minima = arguments.column("temperature", 1.0), arguments.whole("min_length", 0)
    repetitions, presences = arguments.column("repetition_penalty", 1.0), arguments.column("presence_penalty", 0.0)
    bad, stop = _words(arguments, "bad_words_list", spec), _words(arguments, "stop_words_list", spec)
    wanted = asked(arguments, "is_return_log_probs")
    decodings = []
    for row, limit in enumerate(limits):
        if repetitions[row] != 1.0 and presences[row] != 0.0:
            arguments.refuse("repetition_penalty", "and 'presence_penalty' are mutually exclusive", row)
        decodings.append(
            Decoding(
                max_tokens=limit,
                min_tokens=min(minima[row], limit),
                start_id=starts[row],
                end_id=ends[row],
                temperature=temperatures[row],
                repetition_penalty=repetitions[row],
                presence_penalty=presences[row],
                bad_words=bannable(bad[row]),
                stop_words=stop[row],
                log_probabilities=wanted,
            )
        )
    return decodings


def _with_randomness(arguments: Arguments, spec: Transformer, decodings: Sequence[Decoding]) -> list[Decoding]:
    """Return `decodings` with seeds and the settings of the factual nucleus; greedy ones stay as they are."""
    seeds, decays = arguments.whole("random_seed", 0), arguments.column("top_p_decay", 1.0)
    floors, resets = arguments.column("top_p_min", 1e-6), arguments.whole("top_p_reset_ids", -1)
    vocabulary = spec.output_stack.vocabulary
    return [
        replace(
            decoding,
            seed=seeds[row],
            top_p_decay=decays[row],
            top_p_min=floors[row],
            top_p_reset_id=resets[row] if 0 <= resets[row] < vocabulary else -1,  # a client's -1 arrives as 4294967295
        )
        if decoding.top_k or decoding.top_p
        else decoding
        for row, decoding in enumerate(decodings)
    ]


def _ids(arguments: Arguments, name: str, default: int, spec: Transformer) -> list[int]:
    vocabulary = spec.output_stack.vocabulary
    ids = arguments.whole(name, default)
    for row, value in enumerate(ids):
        if name in arguments and not 0 <= value < vocabulary:
            arguments.refuse(name, f"is {value}, the vocabulary has {vocabulary} tokens", row)
    return ids


def _words(arguments: Arguments, name: str, spec: Transformer) -> list[Words]:
    lists: list[Words] = [()] * arguments.rows
    array = arguments.array(name)
    if array is None:
        return lists
    table = array[None] if array.ndim == 2 else array
    if len(table) != arguments.rows:
        arguments.refuse(name, f"has shape {list(array.shape)} for {arguments.rows} rows")
        return lists
    vocabulary = spec.output_stack.vocabulary
    for row, words in enumerate(np.asarray(table)):
        try:
            lists[row] = read_words(words, vocabulary)
        except WordListError as error:
            arguments.refuse(name, f"is malformed: {error}", row)
    return lists
