"""T5 in config.ini, read into a specification and written from one: with and without biases, gated, IA3, p-tuning."""

from __future__ import annotations

from typing import Final

from slipway.checkpoints.fastertransformer.config_ini import Ini, Section
from slipway.checkpoints.fastertransformer.description import (
    MOST_LAYERS,
    MOST_TASKS,
    Description,
    activation,
    activation_name,
    prompt_sections,
    prompts,
    refused,
)
from slipway.checkpoints.fastertransformer.layout import T5, T5_UNREAD
from slipway.errors import invalid
from slipway.transformer.spec import Norm, Positions, Stack, Transformer, standard_scale

BUCKETS: Final = ("relative_attention_num_buckets_or_max_pos_seq_len", "relative_attention_num_buckets")
HEAD: Final = "lm_head.weight"  # converters also write it for tied models
_EPSILON: Final = 1e-6
_DISTANCE: Final = 128  # the only one that the original supports
_POSITIONS: Final = {"relative": Positions.RELATIVE, "0": Positions.RELATIVE} | {
    "absolute": Positions.TABLE,
    "1": Positions.TABLE,
}

# Keys of Hugging Face configurations that the converters print and that have no effect on how a T5 computes.
INERT: Final = frozenset(
    """_name_or_path adapter_inter_size adapter_norm_position add_cross_attention architectures bad_words_ids
    begin_suppress_tokens bos_token_id chunk_size_feed_forward classifier_dropout cross_attention_hidden_size
    decoder_start_token_id dense_act_fn diversity_penalty do_sample dropout_rate dtype early_stopping
    encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id ia3_adapted id2label initializer_factor is_decoder
    is_encoder_decoder is_gated_act label2id length_penalty max_length min_length model_type n_positions
    no_repeat_ngram_size num_beam_groups num_beams num_decoder_layers num_return_sequences num_tasks
    output_attentions output_hidden_states output_past output_scores pad_token_id prefix problem_type
    prompt_learning_start_id prompt_learning_type pruned_heads relative_attention_max_distance
    remove_invalid_values repetition_penalty return_dict return_dict_in_generate scale_decoder_outputs
    sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder
    tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p
    use_bfloat16 use_cache weight_data_type""".split()
)


def describe(ini: Ini, *, encoder_only: bool, own_head: bool) -> Description:
    """Return the T5 that config.ini describes; `own_head` says whether the files contain a separate head."""
    encoder_section, structure = ini.section("encoder"), ini.section("structure")
    if not encoder_section.values:
        raise invalid(f"'{ini.source}' has no section [encoder], only {ini.names}: is model_type T5 right?")
    encoder = _stack(ini, encoder_section, structure)
    tables, prompt_start = prompts(ini, encoder_section, start=encoder.vocabulary + 1)
    types = encoder_section.data_type()
    unread = (T5_UNREAD, HEAD, "decoder.", "shared.")
    if encoder_only:
        unread_section = ini.section("decoder")
        unread_section.used.update(unread_section.values)
        spec = Transformer(encoder=encoder, prompts=tables, prompt_start_id=prompt_start)
        return Description(spec, T5, encoder_type=types, unread=unread)
    section = ini.section("decoder")
    if not section.values:
        raise invalid(f"'{ini.source}' describes an encoder without a decoder: set model_type to T5-Encoder")
    decoder = _stack(ini, section, structure)
    for name, one, other in (
        ("d_model", encoder.hidden, decoder.hidden),
        ("vocab_size", encoder.vocabulary, decoder.vocabulary),
    ):
        if one != other:
            section.problem(f"{name} is {other}, the encoder's is {one}: they share the token table")
    with_bias = structure.boolean("t5_with_bias", default=False)
    scaled = section.boolean("tie_word_embeddings", default=True) and not with_bias
    spec = Transformer(
        encoder=encoder,
        decoder=decoder,
        shared_embedding=True,
        tied_head=not own_head,
        head_bias=with_bias,
        logit_scale=decoder.hidden**-0.5 if scaled else 1.0,
        start_id=section.integer("decoder_start_token_id", "pad_token_id", default=0, low=0),
        end_id=section.integer("eos_token_id", default=1, low=0),
        prompts=tables,
        prompt_start_id=prompt_start,
    )
    return Description(spec, T5, encoder_type=types, decoder_type=section.data_type(), unread=(T5_UNREAD, HEAD))


def sections(spec: Transformer, *, data_type: str) -> dict[str, dict[str, object]]:
    """Return the sections of config.ini from which `describe` reads this model."""
    encoder, decoder = spec.encoder, spec.decoder
    if encoder is None:
        raise invalid("FasterTransformer's T5 needs an encoder, which this model lacks")
    with_bias = encoder.attention_bias
    keys, tasks = prompt_sections(spec)
    structure: dict[str, object] = {
        "t5_with_bias": str(with_bias).lower(),
        "use_gated_activation": "1" if encoder.gated else "false",
        "position_embedding_type": "absolute" if encoder.positions is Positions.TABLE else "relative",
    }
    if encoder.adapter_tasks:
        structure["ia3_num_tasks"] = encoder.adapter_tasks
    last: dict[str, object] = {"weight_data_type": data_type}
    found: dict[str, dict[str, object]] = {"encoder": _figures(encoder) | keys | last, "decoder": {}}
    if decoder is not None:
        tied = {"tie_word_embeddings": with_bias or spec.logit_scale != 1.0}
        found["encoder"] |= tied
        ids = {"decoder_start_token_id": spec.start_id, "eos_token_id": spec.end_id}
        found["decoder"] = _figures(decoder) | ids | tied | last
    return found | {"structure": structure} | tasks


def _stack(ini: Ini, section: Section, structure: Section) -> Stack:
    """Return one stack, with placeholders for invalid values."""
    with_bias = structure.boolean("t5_with_bias", default=False)
    if section.integer("adapter_inter_size", default=0, low=0):
        raise refused(ini.source, "adapters (adapter_inter_size)")
    if section.integer("num_experts", default=0, low=0):
        raise refused(ini.source, "T5 with a mixture of experts (num_experts)")
    kind, gated = activation(section, "feed_forward_proj", "relu")
    where = structure.text("position_embedding_type", default="relative").lower()
    if where not in _POSITIONS:
        structure.problem(f"position_embedding_type is '{where}', expected relative or absolute")
    positions = _POSITIONS.get(where, Positions.RELATIVE)
    rows = section.integer(*BUCKETS, low=4)
    heads = section.integer("num_heads", high=MOST_LAYERS)
    size = section.integer("d_kv")
    return Stack(
        layers=section.integer("num_layers", high=MOST_LAYERS),
        hidden=section.integer("d_model"),
        heads=heads,
        head_size=size,
        inner=section.integer("d_ff"),
        vocabulary=section.integer("vocab_size"),
        norm=Norm.LAYER if with_bias else Norm.RMS,
        norm_epsilon=section.number("layer_norm_epsilon", default=_EPSILON),
        pre_norm=True,
        activation=kind,
        gated=structure.boolean("use_gated_activation", default=False) or gated,
        attention_bias=with_bias,
        feed_forward_bias=with_bias,
        positions=positions,
        position_rows=rows if positions is Positions.TABLE else 0,
        relative_buckets=rows if positions is Positions.RELATIVE else 0,
        relative_max_distance=section.integer("relative_attention_max_distance", default=_DISTANCE),
        final_norm=True,
        attention_scale=standard_scale(size) if with_bias else 1.0,
        adapter_tasks=structure.integer("ia3_num_tasks", default=0, low=0, high=MOST_TASKS),
    )


def _figures(stack: Stack) -> dict[str, object]:
    return {
        "vocab_size": stack.vocabulary,
        "d_model": stack.hidden,
        "d_kv": stack.head_size,
        "d_ff": stack.inner,
        "num_layers": stack.layers,
        "num_heads": stack.heads,
        BUCKETS[0]: stack.position_rows or stack.relative_buckets,
        "relative_attention_max_distance": stack.relative_max_distance,
        "layer_norm_epsilon": stack.norm_epsilon,
        "feed_forward_proj": activation_name(stack.activation, gated=stack.gated),
    }
