"""T5 from FasterTransformer checkpoints on a server, against transformers: paths, interfaces, decoding, bad input."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer
from slipway.checkpoints.fastertransformer.reader import read_fastertransformer
from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from slipway.cli.main import main as slipway
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.kits.calls import tensors
from tests.kits.fastertransformer_models import (
    BETA,
    VOCABULARY,
    add_model,
    generate,
    one_thread,
    prompt_tokens,
    shipped_interface,
    tiny_t5,
    with_tasks,
    write_checkpoint,
)
from tests.kits.servers import served

SENTENCES = [[5, 17, 33, 8, 40, 12, 1], [9, 40, 1], [21, 22, 23, 24, 25, 26, 27, 28, 1], [50, 1]]
PROMPTS = (("summary", 3), ("question", 2))


@dataclass
class Models:
    repository: Path
    t5: Any
    gated: Any


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("fastertransformer")
    repository, scratch = root / "models", root / "hf"
    t5, gated = tiny_t5(), tiny_t5(1, feed_forward_proj="gated-gelu")
    for ways in (1, 2, 4):
        version = add_model(repository, f"t5_tp{ways}", "T5", shipped_interface(), tensor_para_size=str(ways))
        checkpoint = write_checkpoint(t5, version / f"{ways}-gpu", scratch / "t5", ways=ways)
    add_model(
        repository,
        "beta",
        "T5",
        BETA,
        model_checkpoint_path=str(repository / "t5_tp1/1/1-gpu"),
        max_decoding_seq_len="528",
        top_k="1",
        is_half="1",
    )
    filled = (
        "max_batch_size: 16\ndynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 2000000 }\n"
    )
    version = add_model(repository, "filled", "T5", "", ENGINE="torch")
    write_checkpoint(gated, version, scratch / "gated")
    version = add_model(repository, "tasks", "T5", data_type="fp32")
    write_fastertransformer(with_tasks(checkpoint, adapters=2, prompts=PROMPTS), version, WriteOptions())
    text = shipped_interface().replace("max_batch_size: 1024\n", filled)
    add_model(repository, "batched", "T5", text, model_checkpoint_path="../t5_tp1/1/1-gpu")
    (repository / "batched" / "1" / "t5").symlink_to(repository / "t5_tp1/1/1-gpu")
    (repository / "batched" / "config.pbtxt").write_text(
        (repository / "batched" / "config.pbtxt").read_text().replace("../t5_tp1/1/1-gpu", "1/t5")
    )
    return Models(repository, t5, gated)


@pytest.fixture(scope="module")
def server(models: Models) -> Iterator[RunningServer]:
    with served(models.repository) as running:
        yield running


@pytest.fixture
def grpc(server: RunningServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        yield client


TYPES = {"random_seed": np.uint64, "is_return_log_probs": np.bool_, "ia3_tasks": np.int32}
TYPES |= dict.fromkeys(("bad_words_list", "stop_words_list", "min_length"), np.int32)
FLOATS = "runtime_top_p temperature len_penalty repetition_penalty beam_search_diversity_rate top_p_decay top_p_min"
TYPES |= dict.fromkeys((*FLOATS.split(), "presence_penalty"), np.float32)


def padded(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids uint32 [rows, longest] and lengths [rows, 1]."""
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows], np.uint32)
    return ids, np.array([[len(row)] for row in rows], np.uint32)


def question(rows: list[list[int]], tokens: int = 12, **arguments: Any) -> dict[str, np.ndarray]:
    """Return the inputs of one request; an argument that is not an array applies to every row."""
    ids, lengths = padded(rows)
    arrays = {"input_ids": ids, "sequence_length": lengths, "max_output_len": np.full_like(lengths, tokens)}
    for name, value in arguments.items():
        dtype = TYPES.get(name, np.uint32)
        arrays[name] = np.asarray(value, dtype) if np.ndim(value) else np.full(lengths.shape, value, dtype)
    return arrays


def ask(client: Any, model: str, rows: list[list[int]], tokens: int = 12, **arguments: Any) -> dict[str, np.ndarray]:
    """Send one request."""
    arrays = question(rows, tokens, **arguments)
    module = tritonclient.grpc if isinstance(client, tritonclient.grpc.InferenceServerClient) else tritonclient.http
    result = client.infer(model, tensors(module, arrays))
    response = result.get_response()
    names = [each["name"] for each in response["outputs"]] if isinstance(response, dict) else None
    names = names or [each.name for each in response.outputs]
    return {name: result.as_numpy(name) for name in names}


def words(*lists: tuple[int, ...]) -> list[list[list[int]]]:
    """Return one row of words in the clients' encoding."""
    flat = [token for word in lists for token in word]
    ends = np.cumsum([len(word) for word in lists]).tolist()
    return [[flat, ends + [-1] * (len(flat) - len(ends))]]


def generated(answer: dict[str, np.ndarray], row: int = 0, beam: int = 0) -> list[int]:
    return answer["output_ids"][row, beam, : answer["sequence_length"][row, beam]].tolist()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
@pytest.mark.capability("0.5")
def test_the_documents_own_steps_end_in_a_ready_model(models, serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models.t5.save_pretrained("t5-base")
    target = "all_models/t5/fastertransformer/1/"
    assert slipway(["t5_ckpt_convert", "-o", target, "-i", "t5-base/", "-infer_gpu_num", "1"]) == 0
    for file in Path(target, "1-gpu").iterdir():
        shutil.move(file, target)
    Path(target, "1-gpu").rmdir()
    directory = tmp_path / "all_models/t5/fastertransformer"
    (directory / "config.pbtxt").write_text(
        f'name: "fastertransformer"\nbackend: "fastertransformer"\n{BETA}'
        'instance_group [ { count: 1 kind: KIND_CPU } ]\ndefault_model_filename: "t5"\n'
        'parameters { key: "model_type" value: { string_value: "T5" } }\n'
        f'parameters {{ key: "model_checkpoint_path" value: {{ string_value: "{directory}/1" }} }}\n'
    )
    running = serve(directory)
    with tritonclient.http.InferenceServerClient(running.http) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("fastertransformer")
    assert "is a model directory, not a model repository: serving only this model" in running.log


@pytest.mark.usefixtures("own_cache")
@pytest.mark.capability("0.6")
def test_parent_relative_and_absent_paths_serve_and_a_wrong_one_is_unavailable(models, serve, tmp_path, monkeypatch):
    checkpoint = models.repository / "t5_tp1/1/1-gpu"
    repository = tmp_path / "models"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint, tmp_path / "weights")
    add_model(repository, "relative", "T5", model_checkpoint_path="weights")
    shutil.copytree(checkpoint, add_model(repository, "absent", "T5") / "1-gpu")
    shutil.copytree(checkpoint, add_model(repository, "named", "T5", 'default_model_filename: "t5"\n') / "t5")
    add_model(repository, "wrong", "T5", model_checkpoint_path="/nowhere/t5")
    add_model(repository, "other", "GPT-J", model_checkpoint_path="weights")
    running = serve(repository, "--exit-on-error", "false", "--strict-readiness", "false")
    with tritonclient.http.InferenceServerClient(running.http) as client:
        entries = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert {name for name, entry in entries.items() if entry["state"] == "READY"} == {"relative", "absent", "named"}
    assert entries["wrong"]["state"] == "UNAVAILABLE"
    assert "/nowhere/t5" in entries["wrong"]["reason"]
    assert 'Unknown model "GPT-J"' in entries["other"]["reason"]


@pytest.mark.capability("0.7")
def test_the_first_interface_answers_as_transformers_over_http(models, server):
    ids, lengths = padded(SENTENCES)
    arrays = {"INPUT_ID": ids, "REQUEST_INPUT_LEN": lengths}
    with tritonclient.http.InferenceServerClient(server.http) as client:
        result = client.infer("beta", tensors(tritonclient.http, arrays))
    output, counts = result.as_numpy("OUTPUT0"), result.as_numpy("OUTPUT1")
    assert (output.shape, counts.shape) == ((4, 1, 528), (4, 1))
    for row, sentence in enumerate(SENTENCES):
        assert output[row, 0, : counts[row, 0]].tolist() == generate(models.t5, sentence, 527)[0]


@pytest.mark.capability("0.8")
@pytest.mark.parametrize("model", ["t5_tp1", "filled"])
def test_the_required_inputs_alone_are_answered_greedily(models, grpc, model):
    answer = ask(grpc, model, SENTENCES, 16)
    assert answer.keys() == {"output_ids", "sequence_length"}
    assert (answer["output_ids"].shape, answer["sequence_length"].shape) == ((4, 1, 16), (4, 1))
    reference = models.t5 if model == "t5_tp1" else models.gated
    for row, sentence in enumerate(SENTENCES):
        assert generated(answer, row) == generate(reference, sentence, 16)[0]


@pytest.mark.capability("0.9")
def test_the_best_beam_is_that_of_transformers_and_beams_are_sorted(models, grpc):
    generator = np.random.default_rng(2)
    sentences = [[*generator.integers(3, VOCABULARY, generator.integers(2, 9)).tolist(), 1] for _ in range(100)]
    answer = ask(grpc, "t5_tp1", sentences, 10, beam_width=4, len_penalty=1.0, is_return_log_probs=True)
    assert answer["output_ids"].shape == (100, 4, 10)
    options = {"num_beams": 4, "length_penalty": 1.0, "early_stopping": False}
    same = [generated(answer, row) == generate(models.t5, each, 10, **options)[0] for row, each in enumerate(sentences)]
    assert sum(same) >= 95
    scores = answer["cum_log_probs"] / answer["sequence_length"]
    assert (np.diff(scores, axis=1) <= 1e-5).all()


@pytest.mark.capability("0.10")
def test_seeds_decide_what_is_drawn(grpc):
    def drawn(seed: int, **arguments: Any) -> list[int]:
        return generated(ask(grpc, "t5_tp1", SENTENCES[:1], 24, random_seed=seed, **arguments))

    for mode in ({"runtime_top_k": 20}, {"runtime_top_p": 0.95}, {"runtime_top_k": 40, "runtime_top_p": 0.9}):
        assert drawn(7, **mode) == drawn(7, **mode)
        assert len({tuple(drawn(seed, **mode, temperature=1.5)) for seed in range(4)}) > 1
    greedy = generated(ask(grpc, "t5_tp1", SENTENCES[:1], 24))
    assert drawn(1, runtime_top_k=1, runtime_top_p=1.0) == drawn(2, runtime_top_k=1) == greedy


@pytest.mark.capability("0.10")
def test_rows_of_one_batch_may_mix_modes(grpc):
    rows = [SENTENCES[0]] * 3
    modes = {"runtime_top_k": [[0], [8], [0]], "runtime_top_p": [[0.0], [0.0], [0.9]]}
    mixed = ask(grpc, "t5_tp1", rows, 24, random_seed=[[3], [3], [3]], **modes)
    assert generated(mixed, 0) == generated(ask(grpc, "t5_tp1", rows[:1], 24))
    for row, mode in ((1, {"runtime_top_k": 8}), (2, {"runtime_top_p": 0.9})):
        assert generated(mixed, row) == generated(ask(grpc, "t5_tp1", rows[:1], 24, random_seed=3, **mode))


@pytest.mark.capability("0.11")
def test_words_are_banned_or_stop_and_repetition_is_punished(models, grpc):
    sentence = SENTENCES[:1]
    plain = generated(ask(grpc, "t5_tp1", sentence, 16))
    banned = next(token for token in plain if token > 1)
    without = generated(ask(grpc, "t5_tp1", sentence, 16, bad_words_list=words((banned,))))
    assert banned not in without
    stop = tuple(plain[1:3])
    stopped = generated(ask(grpc, "t5_tp1", sentence, 16, stop_words_list=words((banned, banned, banned, 2), stop)))
    end = next(at for at in range(2, len(plain) + 1) if tuple(plain[at - 2 : at]) == stop)
    assert stopped == plain[:end]
    nothing = [[[0], [-1]]]
    assert generated(ask(grpc, "t5_tp1", sentence, 16, bad_words_list=nothing, stop_words_list=nothing)) == plain
    punished = generated(ask(grpc, "t5_tp1", sentence, 16, repetition_penalty=1.3))
    assert punished == generate(models.t5, sentence[0], 16, repetition_penalty=1.3)[0]


@pytest.mark.capability("0.12")
def test_log_probabilities_are_those_of_the_full_softmax(models, grpc):
    import torch

    answer = ask(grpc, "t5_tp1", SENTENCES, 10, is_return_log_probs=True)
    assert answer["output_log_probs"].shape == (4, 1, 10)
    for row, sentence in enumerate(SENTENCES):
        ids = generated(answer, row)
        with torch.no_grad():
            logits = models.t5(input_ids=torch.tensor([sentence]), decoder_input_ids=torch.tensor([[0, *ids[:-1]]]))
        steps = logits.logits[0].log_softmax(-1)
        expected = sum(steps[at, token].item() for at, token in enumerate(ids))
        assert answer["cum_log_probs"][row, 0] == pytest.approx(expected, abs=1e-3)
    assert "cum_log_probs" not in ask(grpc, "t5_tp1", SENTENCES, 10, is_return_log_probs=False)


@pytest.mark.capability("0.13")
@pytest.mark.parametrize("ways", [2, 4])
def test_a_split_checkpoint_gives_the_same_ids(grpc, ways):
    whole, split = (ask(grpc, f"t5_tp{each}", SENTENCES, 16) for each in (1, ways))
    assert np.array_equal(whole["output_ids"], split["output_ids"])


@pytest.mark.capability("0.14")
@pytest.mark.parametrize("arguments", [{}, {"beam_width": 3}])
def test_rows_of_unequal_length_get_what_they_get_alone(grpc, arguments):
    together = ask(grpc, "t5_tp1", SENTENCES, 12, **arguments)
    for row, sentence in enumerate(SENTENCES):
        alone = ask(grpc, "t5_tp1", [sentence], 12, **arguments)
        for beam in range(arguments.get("beam_width", 1)):
            assert generated(together, row, beam) == generated(alone, 0, beam)


@pytest.mark.capability("0.14")
def test_requests_of_different_lengths_and_arguments_are_batched(server, grpc):
    answers: list[Any] = []
    arguments = [{}, {"runtime_top_k": 3, "random_seed": 5}, {"beam_width": 2}, {"is_return_log_probs": True}]
    alone = [ask(grpc, "t5_tp1", [row], 12, **given) for row, given in zip(SENTENCES, arguments, strict=True)]
    with tritonclient.http.InferenceServerClient(server.http, concurrency=4) as client:
        for row, given in zip(SENTENCES, arguments, strict=True):
            ids, lengths = padded([row])
            arrays = {"input_ids": ids, "sequence_length": lengths, "max_output_len": np.full_like(lengths, 12)}
            arrays |= {name: np.full((1, 1), value, TYPES.get(name, np.uint32)) for name, value in given.items()}
            answers.append(client.async_infer("batched", tensors(tritonclient.http, arrays)))
        results = [answer.get_result() for answer in answers]
        statistics = counted(client, "batched", 4)
    for result, expected in zip(results, alone, strict=True):
        assert np.array_equal(result.as_numpy("output_ids"), expected["output_ids"])
    assert statistics["execution_count"] < statistics["inference_count"] == 4


@pytest.mark.capability("0.19")
def test_tasks_change_the_answer_and_unknown_ones_are_refused(server, grpc):
    first, second = (generated(ask(grpc, "tasks", SENTENCES[:1], ia3_tasks=task)) for task in (0, 1))
    assert first != second
    both = ask(grpc, "tasks", [SENTENCES[0]] * 2, ia3_tasks=[[1], [0]])
    assert [generated(both, 0), generated(both, 1)] == [second, first]
    virtual = [VOCABULARY, VOCABULARY + 1, 5, 1]
    prompted = [generated(ask(grpc, "tasks", [virtual], prompt_learning_task_name_ids=task)) for task in (0, 1)]
    plain = [[*prompt_tokens(task, 2), 5, 1] for task in (0, 1)]
    assert prompted == [generated(ask(grpc, "tasks", [row])) for row in plain]
    assert prompted[0] != prompted[1]
    for rows, arguments, reason in (
        (SENTENCES[:1], {"ia3_tasks": 2}, "is 2, expected one of the tasks 0 to 1"),
        (SENTENCES[:1], {"prompt_learning_task_name_ids": 2}, "0 summary, 1 question"),
        ([virtual], {}, "the row has no prompt"),
    ):
        with pytest.raises(InferenceServerException, match=reason) as raised:
            ask(grpc, "tasks", rows, **arguments)
        assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    with (
        tritonclient.http.InferenceServerClient(server.http) as client,
        pytest.raises(InferenceServerException, match="the checkpoint has no IA3 tasks") as raised,
    ):
        ask(client, "t5_tp1", SENTENCES[:1], ia3_tasks=0)
    assert raised.value.status() == "400"


@pytest.mark.parametrize(
    "arguments",
    [
        {"beam_width": 0},
        {"temperature": float("nan")},
        {"tokens": 2**31},
        {"end_id": 10_000},
        {"stop_words_list": [[[7] * 100_000, list(range(1, 100_001))]]},
        {"bad_words_list": [[[7, 8], [5, -1]]]},
    ],
)
def test_a_bad_request_is_refused_and_its_neighbours_are_answered(models, server, arguments):
    """Send eight at once, with a bad fourth one, to a model that waits for batches of four."""
    expected = [generate(models.t5, sentence, 12)[0] for sentence in SENTENCES[:3]]
    requests = [question([SENTENCES[number % 3]]) for number in range(8)]
    requests[3] = question(SENTENCES[:1], **arguments)
    with tritonclient.http.InferenceServerClient(server.http, concurrency=8) as client:
        before = counted(client, "batched", 0)
        calls = [client.async_infer("batched", tensors(tritonclient.http, request)) for request in requests]
        with pytest.raises(InferenceServerException) as raised:
            calls.pop(3).get_result()
        results = [call.get_result() for call in calls]
        after = counted(client, "batched", finished(before) + 8)
    assert raised.value.status() == "400"
    assert next(iter(arguments)).replace("tokens", "max_output_len") in raised.value.message()
    for number, result in zip([0, 1, 2, 4, 5, 6, 7], results, strict=True):
        answer = {name: result.as_numpy(name) for name in ("output_ids", "sequence_length")}
        assert generated(answer) == expected[number % 3]
    assert after["execution_count"] - before["execution_count"] < 7
    assert executions_of_one(after) == executions_of_one(before)  # nobody was alone, the bad one neither
    assert after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"] == 1


def finished(statistics: dict[str, Any]) -> int:
    """Return how many requests have had their final response."""
    return sum(statistics["inference_stats"][outcome].get("count", 0) for outcome in ("success", "fail"))


def counted(client: tritonclient.http.InferenceServerClient, model: str, requests: int) -> dict[str, Any]:
    """Return a model's statistics once they include `requests` requests: a response may arrive before it is counted."""
    while True:
        statistics = client.get_inference_statistics(model)["model_stats"][0]
        if finished(statistics) >= requests:
            return statistics


def executions_of_one(statistics: dict[str, Any]) -> int:
    """Return the number of batches with one row."""
    return sum(each["compute_infer"]["count"] for each in statistics["batch_stats"] if each["batch_size"] == 1)


@pytest.fixture(scope="module")
def engine(models: Models) -> Iterator[TorchEngine]:
    """The network of `filled`, without a server."""
    checkpoint = read_fastertransformer(models.repository / "filled" / "1", kind="T5")
    engine = TorchEngine.open(checkpoint.spec, checkpoint.weights, threads=1)
    yield engine
    engine.close()


def by_engine(engine: TorchEngine, sentence: list[int], decodings: list[Decoding]) -> list[list[list[int]]]:
    """Return the hypotheses of one sentence under each decoding."""
    ids = np.array(sentence, np.int64)
    with one_thread():
        results = collect(engine, [SequenceRequest(ids, decoding) for decoding in decodings])
    return [[list(hypothesis.ids) for hypothesis in hypotheses] for hypotheses in results]


def test_a_minimal_length_keeps_the_end_away_row_by_row(grpc, engine):
    plain = generated(ask(grpc, "filled", SENTENCES[:1], 16))
    end = plain[2]
    answer = ask(grpc, "filled", [SENTENCES[0]] * 2, 16, end_id=end, min_length=[[0], [10]])
    rows = [generated(answer, row) for row in range(2)]
    assert rows[0] == plain[: plain.index(end) + 1]
    assert end not in rows[1][:10]
    decoding = Decoding(max_tokens=16, end_id=end, min_tokens=10)
    assert rows[1:] == by_engine(engine, SENTENCES[0], [decoding])[0]


def test_a_presence_penalty_that_outweighs_everything_lets_no_token_come_twice(grpc):
    answer = ask(grpc, "filled", [SENTENCES[0]] * 2, 24, min_length=24, presence_penalty=[[0.0], [1000.0]])
    plain, punished = generated(answer, 0), generated(answer, 1)
    assert len(plain) == len(punished) == 24
    assert len(set(plain)) < 24
    assert len({0, *punished}) == 25  # the start token counts as seen


def test_diversity_changes_the_beams_of_its_row_and_only_those(grpc, engine):
    rates = [[0.0], [2.5]]
    answer = ask(grpc, "filled", [SENTENCES[0]] * 2, 10, beam_width=3, beam_search_diversity_rate=rates)
    beams = [[generated(answer, row, beam) for beam in range(3)] for row in range(2)]
    plain = Decoding(max_tokens=10, search=Search.HUGGING_FACE, beam_width=3)
    assert beams == by_engine(engine, SENTENCES[0], [plain, replace(plain, diversity=2.5)])
    assert beams[0] != beams[1]


def test_the_factual_nucleus_shrinks_stops_at_its_floor_and_starts_again(grpc, engine):
    """With the same seeds: a constant nucleus, one that halves, one with a floor, one with a reset."""
    begin = float(np.float32(0.9))  # as it arrives
    plain = Decoding(max_tokens=16, min_tokens=16, top_p=begin, temperature=1.5)
    seeds = range(4)
    halved = [replace(plain, seed=seed, top_p_decay=0.5) for seed in seeds]
    drawn = [token for beams in by_engine(engine, SENTENCES[0], halved) for token in beams[0]]
    common = int(np.bincount(drawn).argmax())
    decodings = [
        *(replace(plain, seed=seed) for seed in seeds),
        *halved,
        *(replace(decoding, top_p_min=0.75) for decoding in halved),
        *(replace(decoding, top_p_reset_id=common) for decoding in halved),
    ]
    answer = ask(
        grpc,
        "filled",
        [SENTENCES[0]] * 16,
        16,
        min_length=16,
        runtime_top_p=0.9,
        temperature=1.5,
        random_seed=[[seed] for _ in range(4) for seed in seeds],
        top_p_decay=[[decoding.top_p_decay] for decoding in decodings],
        top_p_min=[[decoding.top_p_min] for decoding in decodings],
        top_p_reset_ids=[[decoding.top_p_reset_id % 2**32] for decoding in decodings],
    )
    rows = [generated(answer, row) for row in range(16)]
    assert rows == [beams[0] for beams in by_engine(engine, SENTENCES[0], decodings)]
    stays, halves, floor, reset = (rows[at : at + 4] for at in (0, 4, 8, 12))
    assert halves not in (stays, floor, reset)
    assert stays not in (floor, reset)


def test_the_config_that_is_shown_has_the_interface_that_was_filled_in(grpc):
    config = grpc.get_model_config("filled", as_json=True)["config"]
    assert {"input_ids", "runtime_top_k", "presence_penalty"} <= {each["name"] for each in config["input"]}


def test_the_configuration_and_the_log_tell_which_engine_computes_and_why(server, grpc):
    shown = grpc.get_model_config("t5_tp1", as_json=True)["config"]["parameters"]["slipway_engine"]["string_value"]
    assert shown == "torch float32, cpu (faster than CTranslate2 in float32, with the weights in memory once)"
    named = grpc.get_model_config("filled", as_json=True)["config"]["parameters"]["slipway_engine"]["string_value"]
    assert named == "torch float32, cpu"  # nobody chose
    assert server.log.count(f"model 't5_tp1' version 1: {shown}") == 1
