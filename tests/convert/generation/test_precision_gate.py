"""The gate of reduced precisions on a model that has learned something: rounding passes, damage does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from slipway.convert.configs import model_name
from slipway.convert.flow import GateVerdict
from slipway.convert.generation.gate import GREEDY, Question, judge, judge_texts
from slipway.convert.generation.languages import SourceLanguages
from slipway.convert.generation.package import TextSide, write_engine_model
from slipway.convert.generation.questions import questions_of
from slipway.convert.generation.reference import ReferenceGenerator
from slipway.convert.generation.scoring import scored_rows, served_losses
from slipway.convert.generation.source import GenerationSource, read_generation_source
from slipway.convert.generation.tokenizer import build_tokenizer, load_reference
from slipway.convert.perplexity import ScoredTexts
from slipway.convert.runner import open_model
from slipway.convert.sample import sample_texts
from slipway.convert.thresholds import ACCURACY, BALANCED, FAST, HIGH
from slipway.convert.token_variants import token_variant
from tests.kits.trained_decoder import write_trained_decoder

Arrays = dict[str, torch.Tensor]
GROUP = 32


@dataclass(frozen=True)
class Asked:
    """A source, and what the reference made of it."""

    source: GenerationSource
    text: TextSide
    questions: list[Question]
    scored: ScoredTexts


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    source = read_generation_source(write_trained_decoder(tmp_path_factory.mktemp("trained") / "source"), None)
    reference = load_reference(source)
    tokenizer = build_tokenizer(source, reference)
    generator = ReferenceGenerator(source, reference)
    texts = sample_texts()
    prompts = [np.array(tokenizer.encode(text).ids[:9], np.int64) for text in texts[3:9]]
    greedy = [each for each in questions_of(source, generator, prompts) if each.way == GREEDY]
    rows = scored_rows(source, tokenizer, texts)
    scored = ScoredTexts(rows, generator.losses(rows))
    return Asked(source, TextSide(tokenizer, SourceLanguages(), cleaned=False), greedy, scored)


def verdict(
    asked: Asked,
    directory: Path,
    precision: str,
    damage: Callable[[Arrays, dict[str, Any]], None] | None = None,
    *,
    served: str = "",
    engine: str = "torch",
    accuracy: str = BALANCED,
) -> GateVerdict:
    """Write the model that `served` runs (default: `precision`), damage it, and judge it as one of `precision`."""
    model = directory / model_name("m")
    write_engine_model(model, "m", asked.source, token_variant(engine, served or precision), asked.text)
    if damage is not None:
        arrays = load_file(model / "1/model.safetensors")
        config = json.loads((model / "1/config.json").read_text())
        damage(arrays, config)
        save_file(arrays, model / "1/model.safetensors", {"format": "pt"})
        (model / "1/config.json").write_text(json.dumps(config))
    with open_model(model) as opened:
        ids = judge(opened.run_together, asked.questions, precision, ACCURACY[accuracy], only_choices=True)
        return judge_texts(ids, lambda rows: served_losses(model, rows), asked.scored, precision, ACCURACY[accuracy])


def rounded_to_int4(arrays: Arrays, config: dict[str, Any]) -> None:
    for name, array in arrays.items():
        if "proj" in name:
            groups = array.reshape(-1, GROUP)
            low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
            step = ((high - low) / 15).clamp(min=1e-8)
            arrays[name] = (((groups - low) / step).round() * step + low).reshape(array.shape).contiguous()


def scaled_layer(arrays: Arrays, config: dict[str, Any]) -> None:
    arrays["model.layers.1.mlp.down_proj.weight"] *= 1.25


def swapped_heads(arrays: Arrays, config: dict[str, Any]) -> None:
    query = arrays["model.layers.0.self_attn.q_proj.weight"]
    arrays["model.layers.0.self_attn.q_proj.weight"] = torch.cat([query[32:48], query[16:32], query[:16], query[48:]])


def row_of_nan(arrays: Arrays, config: dict[str, Any]) -> None:
    arrays["model.layers.1.mlp.up_proj.weight"][3] = float("nan")


def wrong_base(arrays: Arrays, config: dict[str, Any]) -> None:
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 100.0}


def keys_for_values(arrays: Arrays, config: dict[str, Any]) -> None:
    key, value = (f"model.layers.1.self_attn.{part}_proj.weight" for part in "kv")
    arrays[key], arrays[value] = arrays[value], arrays[key]


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        ("torch", "fp32"),
        ("torch", "bf16"),
        ("torch", "int8"),
        ("ctranslate2", "fp32"),
        ("ctranslate2", "int8"),
        ("openvino", "fp32"),
        ("openvino", "int8"),
    ],
)
def test_a_precision_that_only_rounds_passes_on_every_engine(asked, tmp_path, engine, precision):
    found = verdict(asked, tmp_path, precision, engine=engine)
    assert found.problems == ()
    assert found.figures.perplexity.reference < 30  # it has learned something: 400 tokens are possible
    assert abs(found.figures.perplexity.change) < 0.01


def test_four_bits_with_a_scale_for_a_whole_row_need_the_limits_of_fast(asked, tmp_path):
    """The rows of so small a model are no longer than a group of the engine: its 64 numbers share one scale."""
    found = verdict(asked, tmp_path, "int4", engine="openvino", accuracy=FAST)
    assert found.problems == ()
    assert 0 < found.figures.perplexity.change < 0.06


def test_four_bits_in_groups_pass_the_limits_of_int4_and_not_those_of_high_accuracy(asked, tmp_path):
    found = verdict(asked, tmp_path / "balanced", "int4", rounded_to_int4, served="fp32")
    assert found.problems == ()
    assert found.figures.perplexity.change != 0
    strict = verdict(asked, tmp_path / "high", "fp32", rounded_to_int4, served="fp32", accuracy=HIGH)
    assert any("rows differ from transformers" in problem for problem in strict.problems)
    assert any("perplexity" in problem for problem in strict.problems)


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("damage", [scaled_layer, swapped_heads, wrong_base, keys_for_values])
def test_damage_shows_in_the_perplexity_even_within_the_wider_limits_of_int4(asked, tmp_path, damage, precision):
    found = verdict(asked, tmp_path, precision, damage, served="int8")
    assert any("its perplexity on" in problem for problem in found.problems), found.figures.perplexity


def test_a_row_of_nan_is_refused_because_nothing_is_finite_any_more(asked, tmp_path):
    found = verdict(asked, tmp_path, "bf16", row_of_nan)
    assert found.problems
    assert any("not finite" in problem for problem in found.problems), found.problems
