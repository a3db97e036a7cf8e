"""Every task of `slipway convert`, converted, served and queried with text, and compared with transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.options import ConvertOptions
from tests.kits.encoder_checkpoints import HEADS, MOODS, write_checkpoint

ANSWERING = {  # families whose question-answering heads need more than the two texts
    "big_bird": "AutoModelForQuestionAnswering",
    "layoutlm": "AutoModelForDocumentQuestionAnswering",
    "longformer": "AutoModelForQuestionAnswering",
}
TEXTS = ("The cat sat on the mat.", "Stocks rallied, and the British pound gained but fell.", "hi")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {
        name: write_checkpoint(root / name, head=head, **({"id2label": labels} if labels else {}), **changes)
        for name, (head, labels, changes) in HEADS.items()
    } | {name: write_checkpoint(root / name, name, "ForQuestionAnswering") for name in ANSWERING}


@pytest.fixture(scope="module")
def client(sources, tmp_path_factory) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    """A client of a server with all of them."""
    repository = tmp_path_factory.mktemp("tasks")
    for name, source in sources.items():
        convert(source, ConvertOptions(name, repository, "onnxruntime", "fp32", lengths=(8,)))
    with running_server(repository) as server, tritonclient.grpc.InferenceServerClient(server.grpc) as connected:
        yield connected


def ask(
    client: tritonclient.grpc.InferenceServerClient, model: str, **columns: list[list[str]]
) -> dict[str, np.ndarray]:
    """Return every output of one request."""
    inputs = []
    for name, rows in columns.items():
        array = np.array([[cell.encode() for cell in row] for row in rows], dtype=np.object_).reshape(len(rows), -1)
        inputs.append(tritonclient.grpc.InferInput(name, array.shape, "BYTES"))
        inputs[-1].set_data_from_numpy(array)
    result = client.infer(model, inputs)
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def network(source: Path, auto: str):
    import transformers

    return (
        getattr(transformers, auto).from_pretrained(source).eval(),
        transformers.AutoTokenizer.from_pretrained(source),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def logits_of(source: Path, auto: str, *texts: str) -> np.ndarray:
    import torch

    model, tokenizer = network(source, auto)
    with torch.no_grad():
        return model(**tokenizer(*texts, return_tensors="pt")).logits[0].numpy()


@pytest.mark.capability("4.16")
def test_classification_gives_label_and_scores_for_every_row(client, sources):
    answer = ask(client, "moods", text=[[text] for text in TEXTS])
    for row, text in enumerate(TEXTS):
        logits = logits_of(sources["moods"], "AutoModelForSequenceClassification", text)
        np.testing.assert_allclose(answer["logits"][row], logits, atol=1e-4)
        np.testing.assert_allclose(answer["scores"][row], softmax(logits), atol=1e-4)
        assert answer["label"][row, 0].decode() == MOODS[int(logits.argmax())]


def test_labels_that_exclude_nothing_are_scored_one_by_one(client, sources):
    answer = ask(client, "topics", text=[[TEXTS[0]]])
    logits = logits_of(sources["topics"], "AutoModelForSequenceClassification", TEXTS[0])
    np.testing.assert_allclose(answer["scores"][0], 1 / (1 + np.exp(-logits)), atol=1e-4)


def test_regression_gives_its_numbers_as_they_are(client, sources):
    answer = ask(client, "grades", text=[[TEXTS[0]]])
    np.testing.assert_array_equal(answer["scores"], answer["logits"])


def test_a_question_about_nothing_has_no_answer(client):
    answer = ask(client, "answers", question=[["a cat?"]], context=[[""]])
    assert (answer["answer"][0, 0], answer["score"][0, 0], answer["span"][0].tolist()) == (b"", 0, [0, 0])


@pytest.mark.parametrize("labels", [[[]], [["cat"]]])
def test_zero_shot_with_nothing_to_choose_from_is_refused(client, labels):
    expected = r"'labels' needs at least two labels to choose from, but has [01]"
    with pytest.raises(InferenceServerException, match=expected):
        ask(client, "zero", text=[[TEXTS[0]]], labels=labels)


def test_token_classification_groups_tokens_into_entities_as_the_pipeline_does(client, sources):
    import transformers

    model, tokenizer = network(sources["entities"], "AutoModelForTokenClassification")
    pipeline = transformers.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple"
    )
    answer = ask(client, "entities", text=[[text] for text in TEXTS])
    found = 0
    for row, text in enumerate(TEXTS):
        entities = json.loads(answer["entities"][row, 0])
        expected = pipeline(text)
        found += len(expected)
        assert [(each["entity"], each["start"], each["end"]) for each in entities] == [
            (each["entity_group"], each["start"], each["end"]) for each in expected
        ]
        assert [each["score"] for each in entities] == pytest.approx([each["score"] for each in expected], abs=1e-4)
        assert all(each["word"] == text[each["start"] : each["end"]] for each in entities)
    assert found


@pytest.mark.parametrize("name", ["answers", *ANSWERING])
def test_question_answering_finds_the_likeliest_span_of_the_context(client, sources, name):
    import torch

    question, context = "a cat?", "The dog sat on the mat and the British pound gained."
    other = ["quarterly report had expected revenue?", "stocks fell"]
    answer = ask(client, name, question=[[question], other[:1]], context=[[context], other[1:]])
    model, tokenizer = network(sources[name], ANSWERING.get(name, "AutoModelForQuestionAnswering"))
    encoded = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    places = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        output = model(**encoded)
    inside = np.array([sequence == 1 for sequence in encoded.sequence_ids(0)])
    start = softmax(np.where(inside, output.start_logits[0].numpy(), -np.inf))
    end = softmax(np.where(inside, output.end_logits[0].numpy(), -np.inf))
    spans = [(a, b) for a in range(len(start)) for b in range(a, min(a + 15, len(end)))]
    best = max(spans, key=lambda span: start[span[0]] * end[span[1]])
    span = [places[best[0]][0], places[best[1]][1]]
    assert answer["span"][0].tolist() == span
    assert answer["answer"][0, 0].decode() == context[span[0] : span[1]]
    assert answer["score"][0, 0] == pytest.approx(start[best[0]] * end[best[1]], abs=1e-4)


def test_fill_mask_gives_the_five_likeliest_words(client, sources):
    import transformers

    model, tokenizer = network(sources["masks"], "AutoModelForMaskedLM")
    expected = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=5)(
        "the [MASK] sat on the mat"
    )
    answer = ask(client, "masks", text=[["the [MASK] sat on the mat"]])
    assert answer["scores"][0] == pytest.approx([each["score"] for each in expected], abs=1e-4)
    assert [word.decode() for word in answer["tokens"][0]] == [each["token_str"].strip() for each in expected]


def test_a_text_without_mask_is_refused_by_name(client):
    with pytest.raises(InferenceServerException, match=r"every text must contain the mask token '\[MASK\]'"):
        ask(client, "masks", text=[["nothing to fill"]])


def test_reranking_scores_every_pair_of_query_and_text(client, sources):
    query = "a cat"
    answer = ask(client, "ranks", query=[[query]] * 3, text=[[text] for text in TEXTS])
    logits = [logits_of(sources["ranks"], "AutoModelForSequenceClassification", query, text)[0] for text in TEXTS]
    np.testing.assert_allclose(answer["score"][:, 0], 1 / (1 + np.exp(-np.array(logits))), atol=1e-4)


def test_zero_shot_chooses_among_the_labels_of_the_request(client, sources):
    labels = [["cat", "dog", "revenue"], ["stocks", "mat", "cafe"]]
    answer = ask(client, "zero", text=[[TEXTS[0]], [TEXTS[1]]], labels=labels)
    for row in range(2):
        entailment = np.array(
            [
                logits_of(
                    sources["zero"], "AutoModelForSequenceClassification", TEXTS[row], f"This example is {label}."
                )[2]
                for label in labels[row]
            ]
        )
        np.testing.assert_allclose(answer["scores"][row], softmax(entailment), atol=1e-4)
        assert answer["label"][row, 0].decode() == labels[row][int(entailment.argmax())]


def test_a_head_may_serve_another_task_when_asked(sources, tmp_path):
    conversion = convert(
        sources["zero"],
        ConvertOptions("m", tmp_path / "models", "onnxruntime", "fp32", Task.CLASSIFICATION, lengths=(8,)),
    )
    assert conversion.report.task == "text-classification"
    assert conversion.models == ("m-tokenizer", "m-model", "m-answer", "m")
