"""The architecture of a transformer, without its weights: a frozen description that readers write and engines execute.

A specification is complete: an engine needs only it and the arrays that `weights.expected_shapes` lists. It knows no
file format, no engine and no decoding method.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import sqrt

from slipway.errors import invalid, unsupported


class Norm(Enum):
    """How a normalisation layer computes."""

    LAYER = "layer"  # mean and variance, scale and bias
    RMS = "rms"  # root mean square, scale only


class Activation(Enum):
    """The non-linearity of a feed-forward block."""

    RELU = "relu"
    GELU = "gelu"  # with the error function
    GELU_TANH = "gelu_tanh"  # the tanh approximation ("gelu_new", T5's "gated-gelu", LightSeq, FasterTransformer)
    SILU = "silu"


class Positions(Enum):
    """How a stack encodes the order of its tokens."""

    NONE = "none"
    TABLE = "table"  # an array with one row per position, learned or sinusoidal, added to the embedding
    RELATIVE = "relative"  # T5: a bias per head and distance bucket, added to the attention scores
    ROTARY = "rotary"  # queries and keys are rotated by angles that grow with the position
    ALIBI = "alibi"  # a penalty per head that grows with the distance, added to the attention scores


class QueryKeyNorm(Enum):
    """How queries and keys are normalised (root mean square) before they are rotated."""

    NONE = "none"
    HEAD = "head"  # each head by itself, one scale [head size] for all (Qwen3, Gemma 3)
    FULL = "full"  # all heads together, a scale as wide as the projection (OLMo 2)


class Gate(Enum):
    """How a mixture of experts selects the experts of a token."""

    SOFT = "soft"  # softmax over the router's scores; the best `top_k` are weighted by their probabilities
    HARD = "hard"  # every token of a row goes to the expert of the row's language


class Languages(Enum):
    """How a multilingual LightSeq model uses its language embedding (`multilg_type`)."""

    NONE = 0
    EVERY_TOKEN = 1  # the source language is added to every source token, the target language to every target token
    PREFIX_TOKEN = 2  # the source language's row precedes the source; the target language's is the start token
    TARGET_IN_SOURCE = 3  # the target language's row precedes the source, and is also the start token


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts in the feed-forward blocks of some layers.

    With `shared_inner`, every token also goes through one more block of that inner size, weighted by the sigmoid of a
    linear function of the token if `shared_gate` is set (Qwen-MoE).
    """

    count: int
    top_k: int  # ignored by a hard gate
    gate: Gate
    layers: tuple[int, ...]  # the layers that have experts
    normalised: bool = False  # the weights of a token's experts are scaled to add up to 1
    inner: int = 0  # the inner size of an expert; 0: the stack's
    shared_inner: int = 0
    shared_gate: bool = False


class RotaryScaling(Enum):
    """How a model extends rotary positions beyond the length that it was first trained with."""

    NONE = "none"
    LINEAR = "linear"  # positions are divided by `factor` (Chen et al. 2023)
    DYNAMIC = "dynamic"  # the base grows with the length of the sequence (dynamic NTK)
    YARN = "yarn"  # Peng et al. 2023: fast frequencies stay, slow ones are divided, those between are mixed
    LLAMA3 = "llama3"  # Llama 3.1: the same idea with a smooth step between two wavelengths
    LONGROPE = "longrope"  # Ding et al. 2024: a divisor per frequency, from two tables


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary positions (Su et al. 2021): which numbers of a head are rotated, and how fast.

    The first `size` numbers of each head are rotated, in pairs (i, i + size/2), or (2i, 2i + 1) if `interleaved`.
    `original_length` is the length that the model was first trained with. `magnitude` multiplies cosine and sine;
    readers compute it where a configuration leaves it to a formula.
    """

    size: int
    base: float = 10_000.0
    interleaved: bool = False
    scaling: RotaryScaling = RotaryScaling.NONE
    factor: float = 1.0
    original_length: int = 0
    magnitude: float = 1.0
    beta_fast: float = 32.0  # YARN: rotations within the original length; faster frequencies stay as they are ...
    beta_slow: float = 1.0  # ... and slower ones are divided by `factor`
    truncate: bool = True  # YARN: the two bounds are rounded to whole frequencies
    low_frequency_factor: float = 1.0  # LLAMA3: wavelengths above original length / this are divided by `factor` ...
    high_frequency_factor: float = 4.0  # ... and those below original length / this stay as they are
    short_factors: tuple[float, ...] = ()  # LONGROPE: the divisors up to the original length [size / 2] ...
    long_factors: tuple[float, ...] = ()  # ... and beyond it


@dataclass(frozen=True, slots=True)
class Vision:
    """Images as input: square patches through a convolution, preceded by a class token."""

    image_size: int
    patch_size: int
    channels: int = 3

    @property
    def tokens(self) -> int:
        """The length of the sequence: one token per patch, and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1


@dataclass(frozen=True, slots=True)
class Stack:
    """An encoder or a decoder: an embedding and `layers` identical layers.

    A pre-norm layer computes x + f(norm(x)), a post-norm layer norm(x + f(x)). `branch_norm` normalises the output of
    f before it is added: x + branch_norm(f(norm(x))) in a pre-norm layer (Gemma 2), x + branch_norm(f(x)) in the others
    (OLMo 2). `parallel` blocks both see the layer's input: x + attention(norm(x)) + feed_forward(norm(x)); with
    `shared_norm`, both use the norm of the attention. The position table begins with position 0 (readers cut off the
    rows that BART reserves). `attention_scale` multiplies query times key; then come the soft cap and what is added to
    the scores.
    """

    layers: int
    hidden: int
    heads: int
    head_size: int
    inner: int
    vocabulary: int  # 0 if the input is images or already embedded
    norm: Norm = Norm.LAYER
    norm_epsilon: float = 1e-5
    pre_norm: bool = False
    activation: Activation = Activation.RELU
    gated: bool = False  # activation(x A) * (x B) instead of activation(x A)
    attention_bias: bool = True
    feed_forward_bias: bool = True
    positions: Positions = Positions.TABLE
    position_rows: int = 0  # rows of the table: the maximum sequence length; 0 without a table
    relative_buckets: int = 0
    relative_max_distance: int = 128
    relative_per_layer: bool = False  # every layer has its own bias (UMT5) instead of all the same (T5)
    embedding_scale: float = 1.0
    embedding_norm: bool = False  # a normalisation after the embedding (BERT, BART)
    final_norm: bool = False  # a normalisation after the last layer (pre-norm stacks)
    token_types: int = 0  # rows of BERT's segment embedding
    attention_scale: float = 1.0
    padding_id: int | None = None  # tokens with this id embed to zero and are masked (LightSeq, tensor2tensor)
    languages: int = 0  # rows of the language embedding
    experts: Experts | None = None
    adapter_tasks: int = 0  # tasks of IA3: element-wise scales of keys, values and the inner activation
    vision: Vision | None = None
    embedded_input: bool = False  # the input is hidden states; there is no token table (FasterTransformer's BERT)
    key_value_heads: int = 0  # heads of keys and values, each shared by several query heads; 0: as many as `heads`
    output_bias: bool | None = None  # whether the output of an attention has a bias; None: as `attention_bias` says
    context: int = 0  # the longest sequence the model was made for if no table limits it; 0: unknown
    rotary: Rotary | None = None
    local_rotary: Rotary | None = None  # of the layers with a window, if theirs differs (Gemma 3)
    unrotated_layers: tuple[int, ...] = ()  # layers without positions (SmolLM 3)
    alibi_scale: float = 1.0  # ALIBI: multiplies the penalties (Falcon scales them like the scores)
    window: int = 0  # in `window_layers` a token attends to itself and the window - 1 tokens before it
    window_layers: tuple[int, ...] = ()
    query_key_norm: QueryKeyNorm = QueryKeyNorm.NONE
    attention_softcap: float = 0.0  # scores become cap * tanh(score / cap); 0: no cap
    branch_norm: bool = False
    parallel: bool = False
    shared_norm: bool = False
    residual_scale: float = 1.0  # multiplies the output of a block before it is added (Granite)
    embedding_size: int = 0  # the width of the token table, if a product leads to and from it (OPT-350m); 0: `hidden`

    @property
    def attention(self) -> int:
        """The width of the queries."""
        return self.heads * self.head_size

    @property
    def key_value(self) -> int:
        """The width of the keys, and of the values."""
        return (self.key_value_heads or self.heads) * self.head_size

    @property
    def longest(self) -> int:
        """The longest sequence: the rows of the position table, or the context; 0 if neither limits it."""
        return self.position_rows if self.positions is Positions.TABLE else self.context

    def rotary_of(self, layer: int) -> Rotary | None:
        """Return the rotary positions of `layer`, None if it has none."""
        if layer in self.unrotated_layers:
            return None
        return self.local_rotary if self.local_rotary is not None and layer in self.window_layers else self.rotary

    def window_of(self, layer: int) -> int:
        """Return how many tokens a token of `layer` attends to, itself included; 0: all before it."""
        return self.window if layer in self.window_layers else 0

    def has_experts(self, layer: int) -> bool:
        """Return whether `layer` has a mixture of experts instead of one feed-forward block."""
        return self.experts is not None and layer in self.experts.layers


@dataclass(frozen=True, slots=True)
class Transformer:
    """An architecture: encoder, decoder or both, and how hidden states become scores over the vocabulary.

    With both, each decoder layer has cross-attention; a decoder with `encoded_size` attends to hidden states of that
    size, which another model computes. Generation starts with `start_id` and ends with `end_id` unless a request sets
    others.
    """

    encoder: Stack | None = None
    decoder: Stack | None = None
    encoded_size: int = 0
    shared_embedding: bool = False  # the decoder uses the encoder's token table
    tied_head: bool = True  # the head is the decoder's token table
    head_bias: bool = False
    logit_scale: float = 1.0
    logit_softcap: float = 0.0  # scores over the vocabulary become cap * tanh(score / cap); 0: no cap
    start_id: int = 0
    end_id: int = 1
    language_mode: Languages = Languages.NONE
    language_experts: tuple[tuple[int, int], ...] = ()  # hard gates: language id -> expert
    prompts: tuple[tuple[str, int], ...] = field(default=())  # p-tuning: task name -> rows of its prompt table
    prompt_start_id: int = 0  # ids from here on are rows of the task's prompt table

    def __post_init__(self) -> None:
        if self.encoder is None and self.decoder is None:
            raise invalid("a transformer needs an encoder, a decoder or both")
        if self.encoded_size and (self.encoder is not None or self.decoder is None):
            raise invalid("only a decoder without an encoder can attend to hidden states from another model")
        for name, stack in (("encoder", self.encoder), ("decoder", self.decoder)):
            if stack is not None:
                _check(name, stack)
        if self.shared_embedding and self.output_stack.embedding_size:
            raise invalid("a token table that two stacks share must be as wide as they are")
        if self.has_cross_attention and self.output_stack.parallel:
            raise invalid("a decoder with cross-attention cannot have parallel blocks")

    @property
    def input_stack(self) -> Stack:
        """The stack that the input enters: the encoder, or the decoder of a decoder-only model."""
        return self.encoder or self.output_stack

    @property
    def output_stack(self) -> Stack:
        """The stack that generates; raises UNSUPPORTED for an encoder-only model."""
        if self.decoder is None:
            raise unsupported("the model is an encoder and cannot generate")
        return self.decoder

    @property
    def has_cross_attention(self) -> bool:
        """Whether decoder layers attend to an encoder, or to hidden states from another model."""
        return self.decoder is not None and (self.encoder is not None or self.encoded_size > 0)

    @property
    def continues(self) -> bool:
        """Whether it generates the continuation of its own input: a decoder without cross-attention."""
        return self.decoder is not None and not self.has_cross_attention


def standard_scale(head_size: int) -> float:
    """Return 1 / sqrt(head size), the attention scale of all models but T5 (Vaswani et al. 2017, eq. 1); raise
    INVALID_ARG if there are more heads than numbers to share."""
    if head_size < 1:
        raise invalid(f"heads of {head_size} numbers: the model is not as wide as it has heads")
    return 1.0 / sqrt(head_size)


def _check(name: str, stack: Stack) -> None:
    """Refuse a stack that no engine can run, naming the value."""
    sizes = {"layers": stack.layers, "hidden": stack.hidden, "heads": stack.heads, "head_size": stack.head_size}
    for size, value in (*sizes.items(), ("inner", stack.inner)):
        if value < 1:
            raise invalid(f"{name}: {size} is {value}, expected a positive number")
    if stack.positions is Positions.RELATIVE and stack.relative_buckets < 4:
        raise invalid(f"{name}: relative positions need at least 4 buckets, got {stack.relative_buckets}")
    if stack.positions is Positions.TABLE and stack.position_rows < 1:
        raise invalid(f"{name}: the position table needs at least one row, got {stack.position_rows}")
    if stack.vision is None and not stack.embedded_input and stack.vocabulary < 1:
        raise invalid(f"{name}: the vocabulary is empty")
    if stack.experts is not None and not 1 <= stack.experts.top_k <= stack.experts.count:
        raise invalid(f"{name}: {stack.experts.top_k} of {stack.experts.count} experts per token")
    if stack.key_value_heads and stack.heads % stack.key_value_heads:
        raise invalid(
            f"{name}: {stack.heads} query heads cannot share {stack.key_value_heads} heads of keys and values"
        )
    if (stack.positions is Positions.ROTARY) != (stack.rotary is not None):
        raise invalid(f"{name}: rotary positions need their settings, and no other positions have them")
    for rotary in (stack.rotary, stack.local_rotary):
        if rotary is not None:
            _check_rotary(name, stack, rotary)
    if stack.parallel and not stack.pre_norm:
        raise invalid(f"{name}: parallel blocks need their norms before them")
    if stack.shared_norm and not stack.parallel:
        raise invalid(f"{name}: only parallel blocks can share a norm")
    if stack.window_layers and stack.window < 1:
        raise invalid(f"{name}: the attention window is {stack.window}, expected a positive number")


def _check_rotary(name: str, stack: Stack, rotary: Rotary) -> None:
    """Refuse rotary positions that do not fit the heads."""
    if rotary.size < 2 or rotary.size % 2 or stack.head_size % 2 or rotary.size > stack.head_size:
        raise invalid(f"{name}: {rotary.size} of {stack.head_size} numbers per head cannot be rotated in pairs")
    if not (rotary.base > 0 and rotary.factor > 0):
        raise invalid(f"{name}: rotary base {rotary.base} and factor {rotary.factor}, expected positive numbers")
    needs_length = rotary.scaling not in (RotaryScaling.NONE, RotaryScaling.LINEAR)
    if needs_length and rotary.original_length < 1:
        raise invalid(f"{name}: rotary scaling '{rotary.scaling.value}' needs the original length")
    pairs = rotary.size // 2
    if rotary.scaling is RotaryScaling.LONGROPE and not len(rotary.short_factors) == len(rotary.long_factors) == pairs:
        given = f"{len(rotary.short_factors)} short and {len(rotary.long_factors)} long"
        raise invalid(f"{name}: {given} rotary factors, expected {pairs} of each")
