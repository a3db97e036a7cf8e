"""Completions and chats of a converted GPT-2 through OpenAI's own client, unmodified: whole and streamed, equal to
transformers with the same chat template."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
import torch
import transformers as hf

from benchmarks.serving import RunningServer
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.chat_models import ENDLESS, HOSTILE, write_chat_model
from tests.kits.generators import LINES, first_seen, write_generator
from tests.kits.servers import served

MESSAGES = [{"role": "system", "content": "be <brief>"}, {"role": "user", "content": "the cat 東京"}]
TOOL = {"type": "function", "function": {"name": "distance", "parameters": {"type": "object"}}}
NEW = 12


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {
        "talker": write_chat_model(root / "talker"),
        "t5": write_generator(root / "t5", "t5"),
    }


@pytest.fixture(scope="module")
def server(sources, tmp_path_factory) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("generation")
    for name, source in sources.items():
        engine = "ctranslate2" if name == "t5" else "torch"
        convert(source, ConvertOptions(name, repository, engine, precision="fp32"))
    # Templates that no conversion would write: they are refused there.
    others = repository / "talker-tokenizer/1/additional_chat_templates"
    (others / "hostile.jinja").write_text(HOSTILE)
    (others / "endless.jinja").write_text(ENDLESS)
    with served(repository) as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://{server.http}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def reference(sources) -> tuple[Any, Any]:
    source = sources["talker"]
    return hf.AutoModelForCausalLM.from_pretrained(source).eval(), hf.AutoTokenizer.from_pretrained(source)


def expected_ids(reference: tuple[Any, Any], ids: list[int], new: int = NEW) -> list[int]:
    with torch.no_grad():
        found = reference[0].generate(torch.tensor([ids]), max_new_tokens=new, do_sample=False, pad_token_id=0)
    return found[0, len(ids) :].tolist()


def text_of(reference: tuple[Any, Any], ids: list[int]) -> str:
    return reference[1].decode(ids, skip_special_tokens=True)


def chat_ids(reference: tuple[Any, Any], messages: list[dict[str, str]], **settings: Any) -> list[int]:
    given = {"add_generation_prompt": True, **settings}
    text = reference[1].apply_chat_template(messages, tokenize=False, **given)
    return list(reference[1](text, add_special_tokens=False)["input_ids"])


def test_a_chat_gives_the_text_of_transformers_with_the_same_template(client, reference):
    prompt = chat_ids(reference, MESSAGES)
    expected = expected_ids(reference, prompt)
    answer = client.chat.completions.create(model="talker", messages=MESSAGES, max_completion_tokens=NEW)
    assert answer.object == "chat.completion"
    assert answer.model == "talker"
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == text_of(reference, expected)
    assert choice.finish_reason == ("stop" if expected[-1] == reference[0].config.eos_token_id else "length")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), len(expected))


def test_a_streamed_chat_gives_the_same_text_in_chunks_with_usage(client, reference):
    whole = client.chat.completions.create(model="talker", messages=MESSAGES, max_tokens=NEW)
    stream = client.chat.completions.create(
        model="talker", messages=MESSAGES, max_tokens=NEW, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert len([delta for delta in deltas if delta.content]) > 1
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices == []
    assert last.usage == whole.usage
    assert {chunk.id for chunk in (*chunks, last)} == {last.id}


def test_tools_choose_their_template_and_a_template_may_be_named(client, reference):
    prompt = chat_ids(reference, MESSAGES, tools=[TOOL])
    answer = client.chat.completions.create(model="talker", messages=MESSAGES, tools=[TOOL], max_tokens=3)
    assert answer.usage.prompt_tokens == len(prompt)
    assert answer.choices[0].message.content == text_of(reference, expected_ids(reference, prompt, 3))
    named = client.chat.completions.create(
        model="talker", messages=MESSAGES, tools=[TOOL], max_tokens=3, extra_body={"chat_template": "default"}
    )
    assert named.usage.prompt_tokens == len(chat_ids(reference, MESSAGES))


def test_prompts_come_as_texts_and_as_ids_and_lists_of_either(client, reference):
    rows = [list(reference[1](line)["input_ids"]) for line in LINES]
    texts = [text_of(reference, expected_ids(reference, ids)) for ids in rows]
    for prompt in (LINES[0], rows[0], list(LINES), rows):
        answer = client.completions.create(model="talker", prompt=prompt, max_tokens=NEW)
        several = prompt not in (LINES[0], rows[0])
        assert [choice.text for choice in answer.choices] == (texts if several else texts[:1])
        assert [choice.index for choice in answer.choices] == list(range(len(answer.choices)))
    echoed = client.completions.create(model="talker", prompt=LINES[0], max_tokens=NEW, echo=True)
    assert echoed.choices[0].text == LINES[0] + texts[0]
    assert client.completions.create(model="talker", prompt=LINES[0]).usage.completion_tokens <= 16


def test_more_sequences_than_a_batch_holds_come_in_order(client, reference):
    prompts = [f"{line} {number}" for number in range(5) for line in LINES]
    answer = client.completions.create(model="talker", prompt=prompts, max_tokens=4)
    singles = [client.completions.create(model="talker", prompt=prompt, max_tokens=4) for prompt in prompts[::6]]
    assert [choice.text for choice in answer.choices[::6]] == [each.choices[0].text for each in singles]
    assert len(answer.choices) == len(prompts) == 25


def test_a_model_with_an_encoder_completes_too(client, sources):
    network = hf.AutoModelForSeq2SeqLM.from_pretrained(sources["t5"]).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(sources["t5"])
    with torch.no_grad():
        found = network.generate(torch.tensor([tokenizer(LINES[0])["input_ids"]]), max_new_tokens=9, do_sample=False)
    answer = client.completions.create(model="t5", prompt=LINES[0], max_tokens=9)
    assert answer.choices[0].text == tokenizer.decode(found[0], skip_special_tokens=True)
    settings = {"model": "t5", "prompt": LINES[0], "max_tokens": 9, "temperature": 1.0, "seed": 1, "logprobs": 1}
    sampled = client.completions.create(**settings).choices[0]  # which CTranslate2 leaves to torch
    assert "".join(sampled.logprobs.tokens).strip() == sampled.text


def test_streamed_completions_of_several_choices_are_those_of_the_whole_answer(client):
    settings = {"model": "talker", "prompt": list(LINES[:2]), "n": 2, "max_tokens": 9, "temperature": 1.5, "seed": 7}
    whole = client.completions.create(**settings)
    texts = [""] * 4
    for chunk in client.completions.create(**settings, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert len(set(texts)) == 4


def test_a_stop_text_ends_both_forms_before_it(client):
    whole = client.completions.create(model="talker", prompt=LINES[0], max_tokens=30).choices[0].text
    stop = first_seen(whole, 4)
    settings = {"model": "talker", "prompt": LINES[0], "max_tokens": 30, "stop": stop}
    cut = client.completions.create(**settings).choices[0]
    assert (cut.text, cut.finish_reason) == (whole[: whole.index(stop)], "stop")
    chunks = list(client.completions.create(**settings, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == cut.text
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_log_probabilities_have_the_form_of_each_route(client, reference):
    answer = client.chat.completions.create(
        model="talker", messages=MESSAGES, max_tokens=5, logprobs=True, top_logprobs=3
    )
    tokens = answer.choices[0].logprobs.content
    assert [len(token.top_logprobs) for token in tokens] == [3] * len(tokens)
    assert all(token.top_logprobs[0].logprob == token.logprob for token in tokens)  # greedy search
    joined = b"".join(bytes(token.bytes) for token in tokens).decode(errors="replace")
    assert joined == answer.choices[0].message.content
    ids = list(reference[1](LINES[0])["input_ids"])
    with torch.no_grad():
        best = reference[0](torch.tensor([ids])).logits[0, -1].log_softmax(dim=-1).max()
    plain = client.completions.create(model="talker", prompt=ids, max_tokens=1, logprobs=2).choices[0].logprobs
    assert plain.token_logprobs[0] == pytest.approx(float(best), abs=1e-4)
    assert len(plain.top_logprobs[0]) == 2
    assert plain.text_offset == [0]


def test_the_best_of_several_is_returned(client):
    settings = {"model": "talker", "prompt": LINES[0], "max_tokens": 4, "temperature": 2, "seed": 3, "logprobs": 0}
    every = client.completions.create(**settings, n=6)
    best = client.completions.create(**settings, n=1, best_of=6)
    assert best.choices[0].text in [choice.text for choice in every.choices]
    assert best.usage.completion_tokens == every.usage.completion_tokens


REFUSED = [
    ({"model": "talkers"}, openai.NotFoundError, "model_not_found", "did you mean 'talker'"),
    ({"temperature": 9}, openai.BadRequestError, "invalid_value", "'temperature' is 9, expected 0 to 2"),
    ({"max_tokens": 5000}, openai.BadRequestError, "context_length_exceeded", "maximum context length is 512 tokens"),
    ({"tool_choice": "required"}, openai.BadRequestError, "unsupported_parameter", "'tool_choice' is not supported"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
        openai.BadRequestError,
        None,
        "'response_format' is not valid: the JSON schema cannot be followed: Unimplemented keys: [\"not\"]",
    ),
    ({"extra_body": {"max_token": 3}}, openai.BadRequestError, "unknown_parameter", "did you mean 'max_tokens'"),
    ({"messages": [{"role": "cat", "content": "x"}]}, openai.BadRequestError, "invalid_value", "must be one of system"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1"}}]}]},
        openai.BadRequestError,
        "invalid_value",
        "only reads parts of type 'text'",
    ),
    (
        {"extra_body": {"chat_template_kwargs": {"refuse": "stop"}}},
        openai.BadRequestError,
        None,
        "refuses this conversation: told to stop",
    ),
    ({"extra_body": {"chat_template": "tool"}}, openai.BadRequestError, None, "did you mean 'tool_use'"),
    ({"extra_body": {"chat_template": "hostile"}}, openai.BadRequestError, None, "is not valid: access to"),
    ({"model": "t5"}, openai.BadRequestError, "model_not_supported", "has no chat template"),
]


@pytest.mark.parametrize(("fields", "error", "code", "text"), REFUSED)
def test_what_cannot_be_done_is_refused_in_openais_envelope(client, fields, error, code, text):
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{"model": "talker", "messages": MESSAGES, **fields})
    assert text in caught.value.message
    assert caught.value.code == code


def test_a_template_that_does_not_end_keeps_nobody_waiting(client):
    def endless() -> str:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="talker", messages=MESSAGES, extra_body={"chat_template": "endless"})
        return caught.value.message

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(endless)
        time.sleep(0.2)  # it is being evaluated
        answer = client.chat.completions.create(model="talker", messages=MESSAGES, max_tokens=3)
        assert answer.choices[0].finish_reason in ("length", "stop")
        assert not hanging.done()
        assert "did not finish within 5 s" in hanging.result()


def test_a_client_that_leaves_a_stream_stops_the_computation(server):
    def cancelled() -> float:
        connection = http.client.HTTPConnection("127.0.0.1", server.ports.metrics)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        label = 'nv_inference_request_failure{model="talker-completions",reason="CANCELED",version="1"} '
        return float(text.partition(label)[2].split()[0])

    before = cancelled()
    body = json.dumps(
        {"model": "talker", "prompt": "a", "n": 16, "max_tokens": 500, "stream": True, "logit_bias": {"300": -100}}
    ).encode()
    host, port = server.http.split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.http}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        received = connection.recv(4096)
        assert received.startswith(b"HTTP/1.1 200 OK")
    deadline = time.monotonic() + 30
    while cancelled() == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cancelled() == before + 1


def test_langchain_talks_to_the_server_unmodified(server, client):
    from langchain_openai import ChatOpenAI, OpenAI

    settings: dict[str, Any] = {"base_url": f"http://{server.http}/v1", "api_key": "none", "max_retries": 0}
    expected = client.chat.completions.create(model="talker", messages=MESSAGES, max_tokens=NEW, temperature=0)
    chat = ChatOpenAI(model="talker", max_tokens=NEW, temperature=0, stop=["\x00"], **settings)
    asked = [(message["role"], message["content"]) for message in MESSAGES]
    answer = chat.invoke(asked)
    assert answer.content == expected.choices[0].message.content
    assert answer.usage_metadata["output_tokens"] == expected.usage.completion_tokens
    assert "".join(str(chunk.content) for chunk in chat.stream(asked)) == answer.content
    completing = OpenAI(model="talker", max_tokens=NEW, temperature=0, **settings)
    found = client.completions.create(model="talker", prompt=LINES[0], max_tokens=NEW, temperature=0)
    assert completing.invoke(LINES[0]) == found.choices[0].text
    assert "".join(completing.stream(LINES[0])) == found.choices[0].text


LITELLM = """
import json, sys
import litellm

settings = {"api_base": sys.argv[1], "api_key": "none", "model": "openai/talker", "messages": json.loads(sys.argv[2])}
answer = litellm.completion(max_tokens=12, **settings)
chunks = litellm.completion(max_tokens=12, stream=True, **settings)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
try:
    litellm.completion(max_tokens=5000, **settings)
except litellm.ContextWindowExceededError:
    print(json.dumps([answer.choices[0].message.content, text]))
"""


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
def test_litellm_talks_to_the_server_unmodified(server, client):
    expected = client.chat.completions.create(model="talker", messages=MESSAGES, max_tokens=NEW)
    run = subprocess.run(
        [sys.executable, "-c", LITELLM, f"http://{server.http}/v1", json.dumps(MESSAGES)],
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # without it, it looks for prices on the internet
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(run.stdout.splitlines()[-1]) == [expected.choices[0].message.content] * 2


SCHEMA = {
    "type": "object",
    "properties": {"cat": {"type": "boolean"}, "mats": {"type": "array", "items": {"enum": ["é", "b"]}, "maxItems": 2}},
    "required": ["cat", "mats"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SCHEMA, "strict": True}}


def test_every_text_under_a_schema_is_valid_whole_streamed_and_sampled(client):
    given = {"model": "talker", "messages": MESSAGES, "max_tokens": 300, "response_format": FORMAT}
    whole = client.chat.completions.create(**given, n=3, temperature=1.5, seed=4, logprobs=True)
    for choice in whole.choices:
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)
        assert choice.finish_reason == "stop"
        assert b"".join(bytes(token.bytes) for token in choice.logprobs.content).decode() == choice.message.content
    greedy = client.chat.completions.create(**given).choices[0].message.content
    chunks = list(client.chat.completions.create(**given, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == greedy
    jsonschema.validate(json.loads(greedy), SCHEMA)


def test_a_completion_follows_what_vllm_calls_structured_outputs(client):
    for extra in ({"guided_choice": ["yes", "no"]}, {"structured_outputs": {"regex": "yes|no"}}):
        answer = client.completions.create(model="talker", prompt=LINES[0], max_tokens=50, extra_body=extra)
        assert answer.choices[0].text in ("yes", "no")
    answer = client.completions.create(
        model="t5", prompt=LINES[4], max_tokens=9, extra_body={"guided_choice": ["the", "cat"]}
    )
    assert answer.choices[0].text in ("the", "cat")


def test_a_request_to_the_model_itself_says_what_the_texts_must_be(server):
    body = {"text": LINES[0], "parameters": {"guided_choice": '["yes", "no"]', "max_tokens": 9}}
    connection = http.client.HTTPConnection(server.http, timeout=60)
    connection.request("POST", "/v2/models/talker/generate", json.dumps(body))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["generated_text"] in ("yes", "no"), answer
