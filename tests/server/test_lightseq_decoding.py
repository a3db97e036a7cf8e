"""The decoding of LightSeq models on a server, against brute force: beam search, sampling, languages, experts."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tritonclient.http

from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.checkpoints.lightseq.writer import write_lightseq
from slipway.transformer.spec import Experts, Gate, Languages
from tests.kits.calls import tensors
from tests.kits.lightseq_models import add_model, random_checkpoint, toy_conf, toy_spec
from tests.kits.servers import served
from tests.server.dense import Dense
from tests.server.lightseq_search import Rules, beam_search, every_sequence

SOURCE = [5, 9, 17, 4, 11]
BEAMS = {
    "plain": {"length_penalty": 0.0},
    "gnmt": {"length_penalty": 1.0},
    "negative": {"length_penalty": -1.0},
    "diverse": {"length_penalty": 0.6, "diverse_lambda": 0.5},
}
MODES = {mode.name.lower(): mode for mode in Languages if mode is not Languages.NONE}
EXPERTS = {
    "soft_1": Experts(count=4, top_k=1, gate=Gate.SOFT, layers=(1,)),
    "soft_2": Experts(count=4, top_k=2, gate=Gate.SOFT, layers=(0, 1)),
    "hard": Experts(count=2, top_k=1, gate=Gate.HARD, layers=(0, 1)),
}
LANGUAGE_EXPERTS = ((0, 1), (1, 0), (2, 1))


def short(**settings):
    """Return settings for outputs of four columns for a source of `SOURCE`'s length."""
    return toy_conf(extra_decode_length=0, max_step=16, **settings)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = tmp_path_factory.mktemp("lightseq")
    toy = random_checkpoint(toy_spec(), seed=5)
    for name, settings in BEAMS.items():
        write_lightseq(add_model(repository, name, "Transformer"), toy, toy_conf(beam_size=4, **settings))
    for width in (1, 2, 4, 8, 16, 32):
        write_lightseq(add_model(repository, f"beam_{width}", "Transformer"), toy, short(beam_size=width))
    methods = {"topk": {"topk": 4}, "topp": {"topp": 0.6}, "topk_greedy": {"beam_size": 4}}
    for method, settings in methods.items():
        file = add_model(repository, method, "Transformer", batch=512)
        write_lightseq(file, toy, short(sampling_method=method, **settings))
    file = add_model(repository, "seeded", "Transformer", RANDOM_SEED="11")
    write_lightseq(file, toy, short(sampling_method="topk", topk=8))
    for name, mode in MODES.items():
        spec = toy_spec(languages=3, language_mode=mode)
        conf = short(multilg_type=mode.value)
        write_lightseq(add_model(repository, name, "Transformer"), random_checkpoint(spec, seed=1), conf)
    for name, experts in EXPERTS.items():
        spec, conf = toy_spec(experts=experts), toy_conf("Moe")
        if experts.gate is Gate.HARD:
            languages = {"languages": 3, "language_mode": Languages.EVERY_TOKEN, "language_experts": LANGUAGE_EXPERTS}
            spec, conf = toy_spec(experts=experts, **languages), toy_conf("Moe", multilg_type=1)
        write_lightseq(add_model(repository, name, "Moe"), random_checkpoint(spec, seed=2), conf)
    return repository


@pytest.fixture(scope="module")
def client(repository):
    with served(repository) as server, tritonclient.http.InferenceServerClient(server.http) as client:
        yield client


def ask(client, model, rows, **parameters):
    """Return target_ids and target_scores."""
    inputs = tensors(tritonclient.http, {"source_ids": np.array(rows, np.int32)})
    result = client.infer(model, inputs, parameters=parameters or None)
    return result.as_numpy("target_ids"), result.as_numpy("target_scores")


def dense(repository, name, model_type="Transformer", **languages):
    """Return the model in its file, computed by the tests' own code."""
    opened = read_lightseq(repository / name / "model.hdf5", model_type).checkpoint
    weights = {key: np.asarray(array, np.float64) for key, array in opened.weights.items()}
    return Dense(opened.spec, weights, **languages)


def following(model, source):
    """Return the function that returns the log-probabilities of the token after a prefix."""
    encoded = model.encode(source)
    return cache(lambda ids: model.scores(encoded, [model.spec.start_id, *ids]))


def shown(results):
    return [ids for ids, _ in results], [score for _, score in results]


def filled(ids, columns, end_id=2):
    """Return ids padded with end tokens to all columns."""
    return [(*row, *[end_id] * (columns - len(row))) for row in ids.tolist()]


@pytest.mark.capability("1.14")
@pytest.mark.parametrize("name", BEAMS)
@pytest.mark.parametrize("source", [SOURCE, [7, 3], [18, 18, 6, 5, 13, 12, 8]])
def test_beam_search_equals_brute_force(repository, client, name, source):
    settings = BEAMS[name]
    rules = Rules(4, 15, 2, settings["length_penalty"], settings.get("diverse_lambda", 0.0))
    expected_ids, expected_scores = shown(beam_search(following(dense(repository, name), source), rules))
    ids, scores = ask(client, name, [source])
    assert filled(ids[0], 15) == expected_ids
    np.testing.assert_allclose(scores[0], expected_scores, rtol=1e-3, atol=1e-4)


@pytest.mark.capability("1.13")
@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
def test_all_six_beam_sizes_answer_with_so_many_hypotheses(repository, client, width):
    ids, scores = ask(client, f"beam_{width}", [SOURCE])
    expected = beam_search(following(dense(repository, f"beam_{width}"), SOURCE), Rules(width, 4, 2))
    assert ids.shape == (1, width, 4)
    assert filled(ids[0], 4) == shown(expected)[0]
    np.testing.assert_allclose(scores[0], shown(expected)[1], rtol=1e-3, atol=1e-4)


@pytest.mark.capability("1.13")
def test_another_beam_size_is_a_load_error_that_names_the_set(tmp_path, serve):
    file = add_model(tmp_path, "beam_3", "Transformer")
    write_lightseq(file, random_checkpoint(toy_spec()), toy_conf(beam_size=4))
    change_setting(file, "beam_size", 3)
    server = serve(tmp_path, "--exit-on-error=false")
    assert "beam_size 3, expected one of 1, 2, 4, 8, 16, 32" in server.log


def change_setting(file, name, value):
    import h5py

    with h5py.File(file, "r+") as opened:
        dataset = opened[f"model_conf/{name}"]
        dataset[()] = value


@pytest.mark.capability("1.14")
def test_a_beam_wider_than_the_vocabulary_finds_the_best_of_all_short_sequences(repository, client):
    ids, scores = ask(client, "beam_32", [[7, 3, 9, 1]])
    best = every_sequence(following(dense(repository, "beam_32"), [7, 3, 9]), Rules(32, 3, 2))
    assert filled(ids[0], 3) == shown(best)[0]
    np.testing.assert_allclose(scores[0], shown(best)[1], rtol=1e-3, atol=1e-4)


def first_tokens(client, model, rows, **parameters):
    ids, _ = ask(client, model, [SOURCE] * rows, **parameters)
    return ids[:, 0, 0]


def chi_square(counts, shares):
    expected = shares * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.capability("1.15")
@pytest.mark.parametrize("method", ["topk", "topp"])
def test_sampled_tokens_have_the_models_distribution(repository, client, method):
    shares = np.exp(following(dense(repository, method), SOURCE)(()))
    order = np.argsort(-shares)
    shares = shares[order]
    if method == "topp":  # the best tokens up to exactly this much of the probability
        shares = np.diff(np.minimum(np.cumsum(shares), 0.6), prepend=0)
    kept = 4 if method == "topk" else int((shares > 0).sum())
    order, shares = order[:kept], shares[:kept]
    drawn = np.concatenate([first_tokens(client, method, 512, random_seed=1000 * seed) for seed in range(4)])
    counts = np.array([(drawn == token).sum() for token in order])
    assert counts.sum() == len(drawn)  # nothing else is drawn
    assert kept > 1
    assert chi_square(counts, shares / shares.sum()) < CRITICAL[kept - 1]


# Chi-square values that chance exceeds once in a thousand times, by degrees of freedom.
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32, 8: 26.12}


@pytest.mark.capability("1.15")
def test_a_seed_repeats_a_sample_alone_and_among_others(client):
    alone, _ = ask(client, "topk", [SOURCE], random_seed=3)
    again, _ = ask(client, "topk", [SOURCE], random_seed=3)
    among, _ = ask(client, "topk", [SOURCE, [4, 4, 4, 4, 4]], random_seed=3)
    assert alone[0].tolist() == again[0].tolist()
    width = min(alone.shape[2], among.shape[2])
    assert alone[0, :, :width].tolist() == among[0, :, :width].tolist()


@pytest.mark.capability("1.15")
def test_without_a_seed_each_request_draws_again_unless_the_config_has_one(client):
    assert len({tuple(first_tokens(client, "topk", 64)) for _ in range(3)}) == 3
    assert len({tuple(first_tokens(client, "seeded", 8)) for _ in range(3)}) == 1
    drawn = {tuple(first_tokens(client, "seeded", 8, random_seed=seed)) for seed in range(3)}
    assert len(drawn) == 3


@pytest.mark.capability("1.15")
def test_topk_greedy_follows_each_of_the_best_first_tokens(repository, client):
    model = dense(repository, "topk_greedy")
    follow = following(model, SOURCE)
    ids, _ = ask(client, "topk_greedy", [SOURCE])
    assert ids.shape[:2] == (1, 4)
    for first, branch in zip(np.argsort(-follow(()))[:4].tolist(), filled(ids[0], 16), strict=True):
        tokens = [first]
        while len(tokens) < 15 and tokens[-1] != 2:
            tokens.append(int(follow(tuple(tokens)).argmax()))
        assert branch == (*tokens, *[2] * (16 - len(tokens)))


@pytest.mark.capability("1.20")
@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize(("source", "target"), [(0, 2), (2, 0), (1, 1)])
def test_languages_before_the_tokens_are_taken_off_and_used(repository, client, name, source, target):
    model = dense(repository, name, source=source, target=target)
    less = 2 if MODES[name] is Languages.EVERY_TOKEN else 1
    columns = min(16, len(SOURCE) + 2 - less) - 1
    expected, total = model.greedy(SOURCE, columns)
    ids, scores = ask(client, name, [[source, target, *SOURCE]])
    assert filled(ids[0], columns) == [tuple(expected)]
    np.testing.assert_allclose(scores[0, 0], total, rtol=1e-3)


@pytest.mark.capability("1.20")
def test_rows_of_several_languages_share_a_request(client):
    rows = [[0, 2, *SOURCE], [2, 1, 6, 7, 1, 1, 1]]
    ids, _ = ask(client, "every_token", rows)
    for row, expected in enumerate(rows):
        alone, _ = ask(client, "every_token", [expected])
        assert filled(alone[0], 15) == filled(ids[row], 15)


@pytest.mark.capability("1.12")
@pytest.mark.parametrize("name", EXPERTS)
def test_experts_equal_a_dense_computation_of_all_of_them(repository, client, name):
    hard = EXPERTS[name].gate is Gate.HARD
    for source, target in [(0, 1), (1, 2)] if hard else [(0, 0)]:
        model = dense(repository, name, "Moe", source=source, target=target)
        expected, total = model.greedy(SOURCE, 15)
        ids, scores = ask(client, name, [[source, target, *SOURCE] if hard else SOURCE])
        assert filled(ids[0], 15) == [tuple(expected)]
        np.testing.assert_allclose(scores[0, 0], total, rtol=1e-3)


@pytest.mark.capability("1.12")
def test_experts_of_rows_in_one_request_are_chosen_row_by_row(client):
    rows = [[0, 1, *SOURCE], [1, 0, *SOURCE], [2, 2, *SOURCE]]
    ids, _ = ask(client, "hard", rows)
    for row, expected in enumerate(rows):
        alone, _ = ask(client, "hard", [expected])
        assert filled(alone[0], 15) == filled(ids[row], 15)


def test_requests_of_many_lengths_at_once_are_answered_as_if_alone(client):
    generator = np.random.default_rng(0)
    sources = [generator.integers(3, 20, length).tolist() for length in (2, 9, 5, 5, 14, 1, 7, 3)]
    alone = [ask(client, "gnmt", [source]) for source in sources]
    calls = [
        client.async_infer("gnmt", tensors(tritonclient.http, {"source_ids": np.array([source], np.int32)}))
        for source in sources
    ]
    for call, (ids, scores) in zip(calls, alone, strict=True):
        result = call.get_result()
        assert result.as_numpy("target_ids").tolist() == ids.tolist()
        np.testing.assert_allclose(result.as_numpy("target_scores"), scores, rtol=1e-4)
