"""Read a decoder-only checkpoint by its row in the table of families."""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from slipway.checkpoints.huggingface.consulted import Consulted, ignored_settings
from slipway.checkpoints.huggingface.decoder_families import DECODER_FAMILIES
from slipway.checkpoints.huggingface.decoder_family import DecoderFamily, ExpertArrays, ExpertRule, Fields, Fused
from slipway.checkpoints.huggingface.rotary_settings import read_rotary
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import (
    AS_IS,
    ArraySource,
    CheckpointMapping,
    StackedArrays,
    StoredArrays,
    Table,
    own_head,
)
from slipway.checkpoints.huggingface.windows import read_windows
from slipway.errors import invalid, shown
from slipway.transformer.spec import (
    Activation,
    Experts,
    Gate,
    Positions,
    Stack,
    Transformer,
    standard_scale,
)
from slipway.transformer.weights import expected_shapes

# Buffers that old versions saved with each layer: rotary frequencies and causal masks.
_IGNORABLE: Final = (r"(.*\.)?rotary_emb\.inv_freq", r"(.*\.)?(attn|attention)\.(bias|masked_bias)")
_SUFFIXES: Final = {"scale": "weight", "weight": "weight", "bias": "bias"}


def read_decoder(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a checkpoint of any family in `DECODER_FAMILIES`."""
    family = DECODER_FAMILIES[settings.model_type]
    own = _own_settings(settings, family)
    stack = Stack(**_fields(own, family))
    root = next((root for root in family.roots if any(name.startswith(root) for name in stored)), "")
    heads = tuple(f"{name}.weight" for name in family.head)
    tokens = f"{root}{_first_name(family, 'embedding.tokens')}.weight"
    head = next((name for name in heads if name in stored), heads[0])
    # A head that is not stored is tied only if config.json says so.
    tied = not own_head(stored, head, (tokens,)) if head in stored else own.flag("tie_word_embeddings", default=True)
    end = own.token_id("eos_token_id", default=stack.vocabulary - 1)
    spec = Transformer(
        decoder=stack,
        tied_head=tied,
        head_bias=family.head_bias,
        start_id=own.token_id("bos_token_id", default=end),
        end_id=end,
        **_scores(own, family),
    )
    ignored = ignored_settings(Consulted.of(own.config), str(own.path))
    return CheckpointMapping(
        spec,
        _table(family, spec, root, tokens, head),
        (*_IGNORABLE, *family.ignorable),
        ignored=ignored,
    )


def _own_settings(settings: HuggingFaceSettings, family: DecoderFamily) -> HuggingFaceSettings:
    """Return the settings of the decoder, with the family's defaults."""
    config = settings.config
    if family.within:
        inner = config.get(family.within)
        if not isinstance(inner, dict):
            raise invalid(f"{settings.path}: '{family.within}' is {shown(repr(inner))}, expected an object")
        outer = {
            name: config[name]
            for name in ("eos_token_id", "bos_token_id", "tie_word_embeddings", "quantization_config")
            if name in config
        }
        config = {**inner, **outer}
    return HuggingFaceSettings(settings.path, Consulted(config, family.defaults), settings.generation)


def _fields(settings: HuggingFaceSettings, family: DecoderFamily) -> Fields:
    """Return the values of the stack."""
    fields = _sizes(settings, family) | family.network
    fields |= {name: settings.flag(key, default=default) for name, (key, default) in family.flags.items()}
    fields |= {name: settings.number(key, default) for name, (key, default) in family.numbers.items()}
    if family.scale_setting:
        fields["attention_scale"] = settings.positive(family.scale_setting, float(fields["head_size"])) ** -0.5
    if family.embedding_by_width:
        fields["embedding_scale"] = sqrt(fields["hidden"])
    if family.special is not None:
        fields |= family.special(settings, fields)
    fields |= _positions(settings, family, fields)
    if family.windows is not None:
        fields["window"], fields["window_layers"] = read_windows(settings, family.windows, fields["layers"])
    if family.experts is not None:
        fields["experts"] = _experts(settings, family.experts, fields["layers"])
    return fields


def _sizes(settings: HuggingFaceSettings, family: DecoderFamily) -> Fields:
    """Return the sizes, with what follows from them unless the family says otherwise."""
    names = family.names
    layers, heads, hidden, vocabulary = settings.sizes(
        *(settings.first(each) for each in (names.layers, names.heads, names.hidden, names.vocabulary))
    )
    head_size = settings.size(settings.first(names.head_size), hidden // heads) if names.head_size else hidden // heads
    sizes: Fields = {
        "layers": layers,
        "heads": heads,
        "hidden": hidden,
        "vocabulary": vocabulary,
        "head_size": head_size,
        "inner": settings.size(settings.first(names.inner), 4 * hidden) if names.inner else 4 * hidden,
        "context": settings.size(settings.first(names.context), 0) if names.context else 0,
        "activation": _activation(settings, family),
        "attention_scale": standard_scale(head_size),
    }
    if names.norm_epsilon:
        sizes["norm_epsilon"] = settings.number(settings.first(names.norm_epsilon), 1e-5)
    if names.key_value_heads:
        sizes["key_value_heads"] = settings.size(settings.first(names.key_value_heads), heads)
    return sizes


def _positions(settings: HuggingFaceSettings, family: DecoderFamily, fields: Fields) -> Fields:
    """Return how the stack encodes positions: rotary ones, unless the family has others."""
    if fields.get("positions") is Positions.TABLE:
        return {"position_rows": fields["context"]}
    if family.rotary is None or "positions" in fields:
        return {}
    read = read_rotary(settings, family.rotary, fields["head_size"], fields["context"])
    return {
        "positions": Positions.ROTARY,
        "rotary": read.rotary,
        "local_rotary": read.local,
        "context": read.context,
    }


def _activation(settings: HuggingFaceSettings, family: DecoderFamily) -> Activation:
    if not family.names.activation:
        return settings.known_activation(family.activation)
    name = settings.first(family.names.activation)
    if family.legacy_gelu and name == "hidden_act" and settings.config.get(name) == "gelu":
        return Activation.GELU_TANH
    return settings.activation(name, family.activation)


def _scores(settings: HuggingFaceSettings, family: DecoderFamily) -> dict[str, Any]:
    """Return how hidden states become scores over the vocabulary."""
    values: dict[str, Any] = {name: settings.number(key, default) for name, (key, default) in family.scores.items()}
    if family.logit_divisor:
        values["logit_scale"] = 1.0 / settings.positive(family.logit_divisor, 1.0)
    return values


def _experts(settings: HuggingFaceSettings, rule: ExpertRule, layers: int) -> Experts | None:
    count, top_k = settings.sizes(settings.first(rule.count), "num_experts_per_tok")
    chosen = tuple(range(layers))
    if rule.sparse:
        step = settings.size("decoder_sparse_step", 1)
        dense = set(settings.indices("mlp_only_layers", layers))
        chosen = tuple(layer for layer in chosen if (layer + 1) % step == 0 and layer not in dense)
    if not chosen:
        return None
    shared = settings.sizes(rule.shared_inner)[0] if rule.shared_inner else 0
    return Experts(
        count=count,
        top_k=top_k,
        gate=Gate.SOFT,
        layers=chosen,
        normalised=settings.flag(rule.normalised, default=False) if rule.normalised else True,
        inner=settings.sizes(rule.inner)[0] if rule.inner else 0,
        shared_inner=shared,
        shared_gate=bool(shared),
    )


def _first_name(family: DecoderFamily, part: str) -> str:
    names = family.parts[part]
    if isinstance(names, str):
        return names
    return (names.names if isinstance(names, Fused) else names)[0]


def _table(family: DecoderFamily, spec: Transformer, root: str, tokens: str, head: str) -> Table:
    """Return a row for every array of `spec`."""
    stack = spec.output_stack
    table: Table = {}
    for canonical in expected_shapes(spec):
        owner, _, rest = canonical.partition(".")
        if canonical == "decoder.embedding.tokens":
            table[canonical] = ArraySource((tokens, head) if spec.tied_head else (tokens,))
        elif owner == "head" and rest in ("weight", "bias"):
            table[canonical] = ArraySource((f"{head.removesuffix('.weight')}.{_SUFFIXES[rest]}",))
        elif rest.startswith("layers."):
            _, layer, part = rest.split(".", 2)
            prefix = f"{root}{family.layers}.{layer}."
            table[canonical] = _source(family, stack, prefix, part, experts=stack.has_experts(int(layer)))
        else:
            table[canonical] = _source(family, stack, root, rest if owner == "decoder" else canonical, experts=False)
    return table


def _source(family: DecoderFamily, stack: Stack, prefix: str, part: str, *, experts: bool) -> ArraySource:
    """Return the source of one array, by its name below its layer or below the root."""
    stem, _, suffix = part.rpartition(".")
    if suffix not in _SUFFIXES:
        stem, suffix = part, "weight"
    block, _, product = stem.partition(".")
    if experts and family.experts is not None and block == "feed_forward" and product in family.experts.arrays:
        return _expert_source(family.experts.arrays[product], stack, prefix)
    names = family.parts[stem]
    change = family.norm_change if suffix == "scale" else family.changes.get(stem, AS_IS)
    if isinstance(names, Fused):
        change, names = names.cut(stack), names.names
    choices = (names,) if isinstance(names, str) else names
    return ArraySource(tuple(f"{prefix}{name}.{_SUFFIXES[suffix]}" for name in choices), change)


def _expert_source(arrays: ExpertArrays, stack: Stack, prefix: str) -> ArraySource:
    count = stack.experts.count if stack.experts is not None else 0
    each = tuple(StackedArrays(f"{prefix}{name}", count) for name in arrays.each)
    return ArraySource((f"{prefix}{arrays.fused}",), arrays.cut(stack), stacked=each)
