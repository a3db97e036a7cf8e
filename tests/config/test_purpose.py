"""What a model is for: read from the parameters of its config, or recognised by its tensors."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from slipway.config.purpose import Purpose, Use, purpose_of, purpose_problems

ENSEMBLE = """
platform: "ensemble"
ensemble_scheduling {
  step { model_name: "m-tokenizer" input_map { key: "text" value: "text" }
         output_map { key: "input_ids" value: "ids" } }
  step { model_name: "m-model" input_map { key: "input_ids" value: "ids" }
         output_map { key: "embedding" value: "embedding" } }
}
"""


def config(inputs: str, outputs: str, text: str = "", **parameters: str) -> pb.ModelConfig:
    """Return a config with text inputs, an optional one marked by "?", and outputs."""
    made = text_format.Parse(text, pb.ModelConfig(name="m"))
    for name in inputs.split():
        made.input.add(name=name.rstrip("?"), data_type=pb.TYPE_STRING, dims=[1], optional=name.endswith("?"))
    for name in outputs.split():
        made.output.add(name=name, data_type=pb.TYPE_FP32, dims=[-1])
    for key, value in parameters.items():
        made.parameters[key].string_value = value
    return made


@pytest.mark.parametrize(
    ("inputs", "outputs", "task", "use"),
    [
        ("text", "embedding", "embedding", Use.EMBED),
        ("text", "logits label scores", "text-classification", Use.CLASSIFY),
        ("text labels", "label scores", "zero-shot", Use.CHOOSE),
        ("query text", "score", "reranking", Use.RERANK),
        ("text max_tokens? stop?", "generated_text sequence_length", "text-generation", Use.GENERATE),
    ],
)
def test_a_model_without_parameters_is_recognised_by_its_tensors(inputs, outputs, task, use):
    found = purpose_of(config(inputs, outputs))
    assert found.task == task
    assert found.use is use


@pytest.mark.parametrize(
    ("inputs", "outputs"), [("text", "last_hidden_state"), ("words", "embedding"), ("", "embedding")]
)
def test_another_model_has_no_known_purpose(inputs, outputs):
    assert purpose_of(config(inputs, outputs)) is None


def test_numbers_in_place_of_texts_are_not_a_text_model():
    made = config("text", "embedding")
    made.input[0].data_type = pb.TYPE_FP32
    assert purpose_of(made) is None


def test_tokenizer_and_encoder_are_the_steps_that_take_text_and_ids():
    found = purpose_of(config("text", "embedding", ENSEMBLE))
    assert (found.tokenizer, found.encoder) == ("m-tokenizer", "m-model")


def test_the_streaming_form_of_a_model_is_not_another_model():
    stream = config("text", "generated_text")
    stream.name, stream.model_transaction_policy.decoupled = "m-stream", True
    assert purpose_of(stream) is None
    stream.name = "own"
    assert purpose_of(stream).stream == "own"
    assert purpose_of(config("text", "generated_text")).stream == "m-stream"


def test_what_is_written_is_read():
    written = Purpose("embedding", "t", {"query": "query: "}, 512, "chat.jinja", "s")
    read = purpose_of(config("other", "names", **written.parameters()))
    assert read == written
    assert list(purpose_problems(config("other", "names", **written.parameters()))) == []


def test_empty_values_are_not_written():
    assert Purpose("reranking").parameters() == {"SLIPWAY_TASK": "reranking"}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("SLIPWAY_TASK", "embeding", "did you mean 'embedding'?"),
        ("SLIPWAY_TOKENISER", "t", "did you mean 'SLIPWAY_TOKENIZER'?"),
        ("SLIPWAY_PROMPTS", "query: ", "must be a JSON object"),
        ("SLIPWAY_PROMPTS", '{"query": 1}', "must be a JSON object"),
        ("SLIPWAY_PROMPTS", "[" * 100_000, "must be a JSON object"),
        ("SLIPWAY_MAX_TOKENS", "-1", "must be a number of tokens"),
        ("SLIPWAY_MAX_TOKENS", "9" * 30, "must be a number of tokens"),
        ("SLIPWAY_CHAT_TEMPLATE", "../secret", "must be the name of a file"),
    ],
)
def test_wrong_parameters_are_problems_of_the_config(key, value, words):
    (problem,) = purpose_problems(config("text", "embedding", **{key: value}))
    assert words in str(problem)
    assert len(str(problem)) < 700
