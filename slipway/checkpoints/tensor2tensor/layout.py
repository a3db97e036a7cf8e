"""Which stored array of a tensor2tensor Transformer is which canonical one: names, shapes, and the token tables.

Kernels are [in, out], canonical weights [out, in]. A token table is cut into `weights_0` ... by rows; the first
`V mod n` pieces have one row more. tensor2tensor embeds id 0 to zero, also in the decoder, where it is the start token
and is attended to; but the head keeps its row. So the canonical embedding has a row of zeros, and the head is an array
of its own. Knows names and shapes, not files. Source: tensor2tensor/models/transformer.py and layers/modalities.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Final

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.transformer.spec import Activation, Positions, Stack, Transformer, standard_scale
from slipway.transformer.weights import Shape, expected_shapes

MODEL: Final = "transformer"
TARGET_SPACE: Final = f"{MODEL}/body/target_space_embedding/kernel"
TARGET_SPACE_ROWS: Final = 32
GENERIC_SPACE: Final = 0  # the row that problems of text use
POSITIONS: Final = 4096  # rows of the position table, which tensor2tensor computes for any length
PADDING_ID: Final = 0
# Stored beside the weights and not needed to compute: the optimiser's state and counters.
IGNORABLE: Final = (
    r"training/.*",
    r"OptimizeLoss/.*",
    r"global_step",
    r"losses_avg/.*",
    r"train_stats/.*",
    r"beta[12]_power",
    r".*/Adam(_1)?",
    r".*_slot_v[cr]?",
)
_BLOCKS: Final = {"self_attention": "self_attention", "cross_attention": "encdec_attention", "feed_forward": "ffn"}
_LINEAR: Final = {
    "query": "multihead_attention/q",
    "key": "multihead_attention/k",
    "value": "multihead_attention/v",
    "output": "multihead_attention/output_transform",
    "up": "conv1",
    "down": "conv2",
}
_PARTS: Final = {"weight": "kernel", "bias": "bias"}


@dataclass(frozen=True, slots=True)
class TokenTable:
    """One stored token table: its scope, its rows and the number of pieces that it is cut into."""

    scope: str  # such as transformer/symbol_modality_8190_16/shared
    rows: int
    pieces: int

    def shapes(self, hidden: int) -> dict[str, Shape]:
        """Return the name and shape of each piece, in the order of the rows."""
        base, longer = divmod(self.rows, self.pieces)
        return {f"{self.scope}/weights_{i}": (base + (i < longer), hidden) for i in range(self.pieces)}


@dataclass(frozen=True, slots=True)
class TokenTables:
    """The token tables of a model; the same one several times if it is shared."""

    source: TokenTable
    target: TokenTable
    head: TokenTable

    @property
    def shared(self) -> bool:
        """Whether encoder and decoder use one table."""
        return self.source == self.target


def token_tables(hparams: HParams, source: int, target: int | None = None) -> TokenTables:
    """Return the tables of a model with `source` and `target` tokens (default: the same vocabulary) as stored."""
    target = source if target is None else target
    names = ("shared", "shared", "shared")
    if not hparams.shared_embedding_and_softmax_weights:
        names = ("input_emb", "target_emb", "softmax")
    sizes, pieces = (source, target, target), hparams.symbol_modality_num_shards
    scopes = [f"{MODEL}/symbol_modality_{rows}_{hparams.hidden_size}" for rows in sizes]
    tables = zip(scopes, names, sizes, strict=True)
    return TokenTables(*(TokenTable(f"{scope}/{name}", rows, pieces) for scope, name, rows in tables))


def stored_shapes(hparams: HParams, tables: TokenTables) -> dict[str, Shape]:
    """Return the name and shape of every array of a checkpoint, as tensor2tensor stores them."""
    spec = describe(hparams, tables)
    canonical = expected_shapes(spec)
    shapes: dict[str, Shape] = {}
    for table in (tables.source, tables.target, tables.head):
        shapes |= table.shapes(hparams.hidden_size)
    if hparams.use_target_space_embedding:
        shapes[TARGET_SPACE] = (TARGET_SPACE_ROWS, hparams.hidden_size)
    return shapes | {stored: canonical[name][::-1] for name, stored in body_names(spec).items()}


def describe(hparams: HParams, tables: TokenTables) -> Transformer:
    """Return the architecture of hyper-parameters that `hparam_limits.check_network` accepts."""
    return Transformer(
        encoder=_stack(hparams, hparams.encoder_layers, tables.source.rows, padding_id=PADDING_ID),
        decoder=_stack(hparams, hparams.decoder_layers, tables.target.rows, padding_id=None),
        shared_embedding=tables.shared,
        tied_head=False,  # id 0 has a row in the head, and none in the embedding
        start_id=0,
        end_id=1,
    )


def body_names(spec: Transformer) -> Mapping[str, str]:
    """Return the stored name of every canonical array but the token tables, the head and the positions."""
    return dict(_body_names(spec))


def _body_names(spec: Transformer) -> Iterator[tuple[str, str]]:
    for name in expected_shapes(spec):
        stack, *path, last = name.split(".")
        if stack not in ("encoder", "decoder") or path[0] == "embedding":
            continue
        pre_norm = spec.input_stack.pre_norm
        if path[0] == "final_norm":
            yield name, f"{MODEL}/body/{stack}/layer_prepostprocess/layer_norm/layer_norm_{last}"
            continue
        _, layer, block, part = path
        scope = f"{MODEL}/body/{stack}/layer_{layer}/{_BLOCKS[block]}"
        if part == "norm":
            place = "layer_prepostprocess" if pre_norm else "layer_postprocess"
            yield name, f"{scope}/{place}/layer_norm/layer_norm_{last}"
        else:
            yield name, f"{scope}/{_LINEAR[part]}/{_PARTS[last]}"


def _stack(hparams: HParams, layers: int, vocabulary: int, *, padding_id: int | None) -> Stack:
    head_size = hparams.hidden_size // hparams.num_heads
    return Stack(
        layers=layers,
        hidden=hparams.hidden_size,
        heads=hparams.num_heads,
        head_size=head_size,
        inner=hparams.filter_size,
        vocabulary=vocabulary,
        norm_epsilon=hparams.norm_epsilon,
        pre_norm=hparams.pre_norm,
        activation=Activation.RELU,
        attention_bias=False,
        positions=Positions.TABLE,
        position_rows=POSITIONS,
        embedding_scale=sqrt(hparams.hidden_size),
        final_norm=hparams.pre_norm,
        attention_scale=standard_scale(head_size),
        padding_id=padding_id,
    )
