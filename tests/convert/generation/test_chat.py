"""Chat templates are copied into the converted model if they give the texts of transformers, and noted otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers as hf

from slipway.chat.templates import ChatTemplates, read_templates
from slipway.config.parse import parse_config
from slipway.config.purpose import Purpose, purpose_of
from slipway.convert.conversion import convert
from slipway.convert.generation.chat import copied_templates, tool_notes
from slipway.convert.options import ConvertOptions
from tests.kits.chat_models import HOSTILE, TEMPLATE, TOOLS_TEMPLATE, write_chat_model
from tests.kits.generators import write_generator


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("source") / "talker", hostile=HOSTILE)


def test_the_templates_stand_beside_the_tokenizer_and_the_ensemble_says_where(source, tmp_path):
    converted = convert(source, ConvertOptions("m", tmp_path / "models", "torch", precision="fp32"))
    found = read_templates(tmp_path / "models/m-tokenizer/1")
    assert found is not None
    assert found.templates == {"default": TEMPLATE, "tool_use": TOOLS_TEMPLATE}
    assert found.tokens["eos_token"] == "<|endoftext|>"  # noqa: S105  a token of a tokenizer
    config = parse_config((tmp_path / "models/m/config.pbtxt").read_text(), "m")
    assert purpose_of(config) == Purpose(
        "text-generation",
        tokenizer="m-tokenizer",
        max_tokens=512,
        chat_template="chat_template.jinja",
        stream="m-stream",
        encoder="m-model",
        completions="m-completions",
    )
    completing = parse_config((tmp_path / "models/m-completions/config.pbtxt").read_text(), "m-completions")
    assert "max_output_len" not in completing.parameters  # a chat without a limit goes on while there is room
    (note,) = [note for note in converted.report.notes if "chat template" in note]
    assert note == (
        "the chat template 'hostile' is not served because transformers cannot render any conversation with it"
    )


def test_a_template_whose_name_cannot_be_a_file_is_noted(tmp_path):
    directory = write_generator(tmp_path / "gpt2", "gpt2")
    path = directory / "tokenizer_config.json"
    several = [{"name": "default", "template": "{{ messages[0].content }}"}, {"name": "../../x", "template": "x"}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": several}))
    chat, notes = copied_templates(hf.AutoTokenizer.from_pretrained(directory))
    assert chat is not None
    assert list(chat.templates) == ["default"]
    assert notes == ["the chat template '../../x' is not served because of its name"]


def test_calls_of_tools_that_will_not_be_recognised_are_noted():
    (note,) = tool_notes(ChatTemplates({"default": TEMPLATE, "tool_use": TOOLS_TEMPLATE}))
    assert "the form of its calls is not known" in note
    assert tool_notes(ChatTemplates({"default": "{% if tools %}<tool_call>{% endif %}"})) == []
    assert tool_notes(ChatTemplates({"default": TEMPLATE})) == []
    assert tool_notes(None) == []


def test_a_checkpoint_without_a_template_has_no_chat(tmp_path):
    assert copied_templates(hf.AutoTokenizer.from_pretrained(write_generator(tmp_path / "gpt2", "gpt2"))) == (None, [])
