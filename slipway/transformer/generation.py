"""The seam between engines and their users: the requests and results of an engine as values.

One `SequenceRequest` is one row: a sequence with its own decoding. An engine runs rows of different lengths and
settings together and reports to a `GenerationListener` as it goes, so that a short row is answered while a long one
continues. Knows no tensor library but numpy, no file format and no protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np

from slipway.transformer.paged.stats import RunningStats


class Search(Enum):
    """The rule that ranks, finishes and stops hypotheses (`decoding/beam_*.py`, `decoding/sampling.py`)."""

    SAMPLE = "sample"  # one hypothesis: greedy, top-k or nucleus, by the row's settings
    HUGGING_FACE = "hugging_face"  # beam: score / length ** penalty, a pool of finished ones; also FasterTransformer's
    LIGHTSEQ = "lightseq"  # beam: finished hypotheses stay in the beam; GNMT penalty, negative: average at the end
    TENSOR2TENSOR = "tensor2tensor"  # beam: GNMT penalty, sets of alive and finished ones
    BRANCHES = "branches"  # the first step's best `beam_width` tokens, each followed greedily (LightSeq topk_greedy)


class StopTexts(Protocol):
    """Texts that end a hypothesis; they may begin and end inside tokens."""

    def met(self, ids: Sequence[int]) -> bool:
        """Return whether the last of the generated `ids` completes one of the texts."""


class GrammarState(Protocol):
    """The beginning of a text, as a grammar reads it."""

    def allowed(self) -> np.ndarray:
        """Return bool [vocabulary]: the tokens that may come next, an end token where the text may end."""

    def accept(self, token: int) -> None:
        """Continue the text by an allowed token."""

    def copy(self) -> GrammarState:
        """Return the same state, to be continued otherwise."""


class TextGrammar(Protocol):
    """What a row's text must be; rows that are sampled from one share it."""

    @property
    def failure(self) -> str:
        """Why a text could not be completed, and has ended too early; "" if all could."""

    def begin(self) -> GrammarState:
        """Return the state before the first token of a text."""


class StepObserver(Protocol):
    """Learns what the model itself thought of a token: before penalties, temperature and filters."""

    @property
    def width(self) -> int:
        """How many of the best tokens it wants to know."""

    def step(self, log_probability: float, ids: Sequence[int], log_probabilities: Sequence[float]) -> None:
        """Receive the log-probability of the token that is reported next, and the best tokens with theirs."""


@dataclass(frozen=True, slots=True)
class TransformersRules:
    """Settings that only `generate()` of transformers has, under its names, and those of OpenAI's API.

    The scores of a row with rules are processed in its order: logits in greedy search and sampling, log-probabilities
    in beam search (`decoding/transformers_order.py`).
    """

    end_ids: tuple[int, ...] = ()  # all of them; `Decoding.end_id` is the first
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] = ()
    encoder_repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words: tuple[tuple[int, ...], ...] = ()  # unlike `Decoding.bad_words`, token 0 too, and across the prompt
    forced_end_ids: tuple[int, ...] = ()  # the tokens that may be last at the maximum length
    remove_invalid_values: bool = False
    exponential_decay: tuple[int, float] | None = None  # generated tokens before it begins, factor
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    top_h: float = 0.0  # 0: off
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    renormalize_logits: bool = False
    never_early: bool = False  # beams: `early_stopping` is "never"
    stop_texts: StopTexts | None = None
    # OpenAI's, subtracted from the logits of generated tokens, not of those in the prompt.
    frequency_penalty: float = 0.0  # for each time that a token was generated
    output_presence_penalty: float = 0.0  # once
    observer: StepObserver | None = None
    allowed_tokens: tuple[int, ...] = ()  # the only ones that may be generated, with the end tokens; (): all
    grammar: TextGrammar | None = None

    @property
    def change_scores(self) -> bool:
        """Whether any of them changes scores; the others only decide when a row ends."""
        return self != TransformersRules(self.end_ids, never_early=self.never_early, stop_texts=self.stop_texts)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How one row is decoded. The defaults are greedy search.

    `top_k` 0 and `top_p` 0 mean greedy search; one of them samples from the best k or the nucleus p; both sample from
    the nucleus within the best k. Words are token sequences. `seed` determines a row's random draws, independently of
    the rows it is batched with.
    """

    max_tokens: int  # maximum number of generated tokens, including the end token
    min_tokens: int = 0  # the end token is banned until then
    start_id: int = 0  # the decoder's first input (unused by decoder-only models, which start with the row's ids)
    end_id: int = 1  # -1: no token ends the row
    search: Search = Search.SAMPLE
    beam_width: int = 1
    length_penalty: float = 0.0
    early_stopping: bool = False  # HUGGING_FACE: stop at `beam_width` finished hypotheses
    every_beam: bool = False  # TENSOR2TENSOR: stop when all beams are decided, not only the best one
    diversity: float = 0.0
    top_k: int = 0
    top_p: float = 0.0
    temperature: float = 1.0
    seed: int = 0
    repetition_penalty: float = 1.0  # multiplicative
    presence_penalty: float = 0.0  # subtracted
    top_p_decay: float = 1.0  # factual nucleus (Lee et al. 2022): p shrinks with every token ...
    top_p_min: float = 1e-6  # ... to no less than this ...
    top_p_reset_id: int = -1  # ... and starts again at this token
    bad_words: tuple[tuple[int, ...], ...] = ()
    stop_words: tuple[tuple[int, ...], ...] = ()
    forced: tuple[int, ...] = ()  # the first generated tokens, if they are given: a target language (M2M100, mBART)
    log_probabilities: bool = False  # whether the figure of each token is requested; the total is always returned
    rules: TransformersRules | None = None  # None: scores are processed in FasterTransformer's order


@dataclass(frozen=True, slots=True, eq=False)
class SequenceRequest:
    """One sequence: the encoder's input, or the prompt of a decoder-only model. `ids` is int64 [tokens], unpadded.

    An image is `pixels` float32 [channels, height, width] instead. `hidden` float32 [tokens, hidden] is input that was
    embedded elsewhere (FasterTransformer's BERT), or the encoder states for a decoder whose encoder is another model.
    `prompt` float32 [rows, hidden] is a p-tuning table from the request; `prompt_task` is the index of a stored one.
    """

    ids: np.ndarray
    decoding: Decoding | None = None
    pixels: np.ndarray | None = None
    hidden: np.ndarray | None = None
    adapter_task: int | None = None
    prompt_task: int | None = None
    prompt: np.ndarray | None = None
    source_language: int = 0
    target_language: int = 0
    priority: int = 0  # higher numbers are less urgent, as in Triton


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One generated sequence: ids without the start token, with the end token if it was generated.

    `log_probability` is the sum of the full softmax's log-probabilities; hypotheses are ranked by `score`.
    `log_probabilities` has one figure per token if they were requested.
    """

    ids: tuple[int, ...]
    log_probability: float
    score: float
    log_probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Encoded:
    """The last hidden states of an encoder (or of a decoder-only model's prompt), float32 [tokens, hidden], and the
    attention probabilities, float32 [layers, heads, tokens, tokens], if they were requested."""

    hidden: np.ndarray
    attentions: np.ndarray | None = None


class GenerationListener(Protocol):
    """Receives the progress of a generation. Called on the engine's thread; must not block."""

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Receive the next token of a row without beams. Return True to stop the row (its client is gone).

        `log_probability` is the full softmax's; `figure` is the value to report for the token, which is normalised
        among the best k when the token was drawn from them.
        """

    def wanted(self, row: int) -> bool:
        """Return whether the client of a row without a new token is still there: of one with beams, or one that waits
        for its turn. Called at every step, or only before and after the search if the engine cannot stop in between."""

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Receive the hypotheses of a finished row, best first: one without beams, none for a row that was not wanted.
        Called once per row, in any order."""


class StartedListener(GenerationListener, Protocol):
    """Receives the progress of a generation for which nobody waits: also what goes wrong."""

    def failed(self, row: int, error: Exception) -> None:
        """Learn that a row has ended with an error, in place of `done`: a `SlipwayError`, or what the listener
        raised."""


@dataclass(slots=True)
class CollectingListener:
    """A listener that collects all results: `results[row]` are the row's hypotheses."""

    results: dict[int, list[Hypothesis]] = field(default_factory=dict)

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Let the row continue."""
        return False

    def wanted(self, row: int) -> bool:  # noqa: ARG002
        """Let the row continue."""
        return True

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep the row's hypotheses."""
        self.results[row] = list(hypotheses)


@dataclass(frozen=True, slots=True)
class ReindexedListener:
    """Passes on the reports of some of the rows, with their indices among all rows."""

    listener: GenerationListener
    rows: Sequence[int]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass one token on."""
        return self.listener.token(self.rows[row], token, log_probability, figure)

    def wanted(self, row: int) -> bool:
        """Return whether the row's client is still waiting."""
        return self.listener.wanted(self.rows[row])

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Pass a finished row on."""
        self.listener.done(self.rows[row], hypotheses)


@dataclass(frozen=True, slots=True)
class StartedReindexed(ReindexedListener):
    """The same for rows that have been started."""

    listener: StartedListener

    def failed(self, row: int, error: Exception) -> None:
        """Pass an error on."""
        self.listener.failed(self.rows[row], error)


class TransformerEngine(Protocol):
    """A transformer that computes. One engine serves all instances of a model; every method may be called from several
    threads at once. Errors are `SlipwayError`s. The code that makes a row must check its settings."""

    @property
    def description(self) -> str:
        """The library, its precision and device: for statistics and logs."""

    def refusal(self, row: SequenceRequest) -> str:
        """Return why this engine cannot run the row exactly as requested, "" if it can."""

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        """Decode all rows, each by its own `decoding`; return when `listener.done` has been called for each."""

    def joins(self, row: SequenceRequest) -> bool:
        """Return whether the row can join the engine's running batch; the others need `generate`."""

    def room(self, row: SequenceRequest) -> int:
        """Return how many tokens the engine's memory holds of a row, prompt and output; 0 if it sets no limit."""

    def start(self, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:
        """Let rows that can join the running batch do so, together with those of other callers, and return at once."""

    def encode(self, rows: Sequence[SequenceRequest], *, attentions: bool = False) -> list[Encoded]:
        """Return the hidden states of each row."""

    def score(self, rows: Sequence[SequenceRequest]) -> list[float]:
        """Return the mean negative log-probability of each row's own tokens after the first (decoder-only models)."""

    def stats(self) -> RunningStats | None:
        """Return the figures of the engine's running batch, None if it does not have one; quick, from any thread."""

    def close(self) -> None:
        """Release the weights."""


def collect(engine: TransformerEngine, rows: Sequence[SequenceRequest]) -> list[list[Hypothesis]]:
    """Generate for all rows and return the hypotheses of each, best first."""
    collected = CollectingListener()
    engine.generate(rows, collected)
    return [collected.results[index] for index in range(len(rows))]
