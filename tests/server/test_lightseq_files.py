"""Each kind of LightSeq file on a server: .pb and .hdf5 from other writers, 8-bit exports, invalid files.

The weights are those of a trained BART, in the layout of LightSeq's `lightseq/inference/proto/*.proto`, written with
Google's protobuf and h5py, and compared with transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.kits import lightseq_files as independent
from tests.kits.calls import infer, tensors
from tests.kits.fastertransformer_models import one_thread
from tests.kits.lightseq_models import add_model, counted, counting_bart, export_to
from tests.kits.servers import served

HDF5 = {
    "f4_flat": {"dtype": "f4", "shaped": False},
    "f4_shaped": {"dtype": "f4", "shaped": True},
    "f8_flat": {"dtype": "f8", "shaped": False},
    "f8_shaped": {"dtype": "f8", "shaped": True},
}
CONF = {
    "head_num": 2,
    "beam_size": 4,
    "extra_decode_length": 50,
    "length_penalty": 1.0,
    "src_padding_id": 1,
    "trg_start_id": 2,
    "trg_end_id": 2,
    "is_post_ln": True,
    "no_scale_embedding": True,
}
MAX_STEP = 50


def laid_out(model: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a one-layer BART by the names in LightSeq's Transformer.

    Each norm's slot holds the norm of the previous sub-layer: the first the embedding's, the last the last layer's.
    """
    state = {name.removeprefix("model."): value.numpy() for name, value in model.state_dict().items()}
    values = {
        "src_embedding/token_embedding": state["shared.weight"],
        "trg_embedding/token_embedding": state["shared.weight"].T,
        "trg_embedding/shared_bias": state["final_logits_bias"][0],
    }
    slots = [
        ("src_embedding", "norm", "encoder.layers.0.final_layer_norm"),
        ("encoder_stack/0", "multihead_norm", "encoder.layernorm_embedding"),
        ("encoder_stack/0", "ffn_norm", "encoder.layers.0.self_attn_layer_norm"),
        ("trg_embedding", "norm", "decoder.layers.0.final_layer_norm"),
        ("decoder_stack/0", "self_norm", "decoder.layernorm_embedding"),
        ("decoder_stack/0", "encdec_norm", "decoder.layers.0.self_attn_layer_norm"),
        ("decoder_stack/0", "ffn_norm", "decoder.layers.0.encoder_attn_layer_norm"),
    ]
    for group, slot, name in slots:
        values[f"{group}/{slot}_scale"], values[f"{group}/{slot}_bias"] = (
            state[f"{name}.weight"],
            state[f"{name}.bias"],
        )
    linear = [
        ("encoder_stack/0/multihead_project", "_output", "encoder.layers.0.self_attn.out_proj"),
        ("decoder_stack/0/self_project", "_output", "decoder.layers.0.self_attn.out_proj"),
        ("decoder_stack/0/encdec_project", "_q", "decoder.layers.0.encoder_attn.q_proj"),
        ("decoder_stack/0/encdec_project", "_output", "decoder.layers.0.encoder_attn.out_proj"),
    ]
    for group, part, name in linear:
        values[f"{group}_kernel{part}"] = state[f"{name}.weight"].T
        values[f"{group}_bias{part}"] = state[f"{name}.bias"]
    for group, name in (("encoder_stack/0", "encoder.layers.0"), ("decoder_stack/0", "decoder.layers.0")):
        for place, part in (("first", "fc1"), ("second", "fc2")):
            values[f"{group}/ffn_{place}_kernel"] = state[f"{name}.{part}.weight"].T
            values[f"{group}/ffn_{place}_bias"] = state[f"{name}.{part}.bias"]
    fused = [
        ("encoder_stack/0/multihead_project_{}_qkv", "encoder.layers.0.self_attn", "qkv"),
        ("decoder_stack/0/self_project_{}_qkv", "decoder.layers.0.self_attn", "qkv"),
        ("trg_embedding/encode_output_project_{}_kv", "decoder.layers.0.encoder_attn", "kv"),
    ]
    for path, name, parts in fused:
        kernels = [state[f"{name}.{part}_proj.weight"].T for part in parts]
        values[path.format("kernel")] = np.stack(kernels, axis=1)
        values[path.format("bias")] = np.stack([state[f"{name}.{part}_proj.bias"] for part in parts])
    for group, side in (("src_embedding", "encoder"), ("trg_embedding", "decoder")):
        values[f"{group}/position_embedding"] = state[f"{side}.embed_positions.weight"][2 : 2 + MAX_STEP]
    return {path: np.ascontiguousarray(array) for path, array in values.items()}


def write_pb(path: Path, values: dict[str, np.ndarray]) -> None:
    """Write the message with Google's protobuf and an independent schema."""
    message = independent.transformer(values, **CONF)
    del message.encoder_stack[1:], message.decoder_stack[1:]
    path.write_bytes(message.SerializeToString())


def write_h5(path: Path, values: dict[str, np.ndarray], **form: Any) -> None:
    independent.write_hdf5(path, values, conf=CONF, **form)
    with h5py.File(path, "r+") as file:
        for stack in ("encoder", "decoder"):
            file[f"model_conf/n_{stack}_stack"][()] = 1


def name_file(repository: Path, model: str, file: str) -> None:
    """Make the model's config name another file."""
    config = repository / model / "config.pbtxt"
    config.write_text(config.read_text().replace("model.hdf5", file))


@dataclass
class Models:
    repository: Path
    bart: Any
    values: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    repository = tmp_path_factory.mktemp("files")
    with one_thread():
        bart = counting_bart()
    values = laid_out(bart)
    write_pb(add_model(repository, "pb", "Transformer").with_suffix(".pb"), values)
    name_file(repository, "pb", "model.pb")
    for name, form in HDF5.items():
        write_h5(add_model(repository, name, "Transformer"), values, **form)
    export_to(add_model(repository, "float", "Transformer"), bart, "hf-bart")
    export_to(add_model(repository, "int8", "QuantTransformer"), bart, "hf-bart", ptq=True)
    return Models(repository, bart, values)


@pytest.fixture(scope="module")
def grpc(models: Models) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with served(models.repository) as server, tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        yield client


def sources(count: int, seed: int = 0) -> np.ndarray:
    """Return int32 [count, 5]: every first token in turn, the others at random."""
    rows = np.random.default_rng(seed).integers(3, 40, (count, 5)).astype(np.int32)
    rows[:, 0] = 3 + np.arange(count) % 37
    return rows


def translated(client: Any, model: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return target_ids and target_scores of one request."""
    result = client.infer(model, tensors(tritonclient.grpc, {"source_ids": rows}))
    return result.as_numpy("target_ids"), result.as_numpy("target_scores")


def first_answers(client: Any, model: str, rows: np.ndarray) -> list[list[int]]:
    """Return the best hypothesis of each row up to its end token, requested in batches of eight."""
    answers = []
    for at in range(0, len(rows), 8):
        ids = translated(client, model, rows[at : at + 8])[0][:, 0].tolist()
        answers += [row[: row.index(2) + 1] for row in ids]
    return answers


@pytest.mark.capability("1.4")
def test_a_pb_of_an_independent_schema_is_served_and_answers_as_the_hdf5_of_its_weights(grpc):
    ids, scores = translated(grpc, "pb", sources(8))
    expected_ids, expected_scores = translated(grpc, "f4_flat", sources(8))
    assert ids.shape[:2] == (8, 4)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.capability("1.4")
def test_a_pb_of_an_independent_schema_answers_as_transformers(grpc, models):
    import torch

    rows = sources(37)
    with torch.no_grad(), one_thread():
        table = torch.from_numpy(rows.astype(np.int64))
        generated = models.bart.generate(table, do_sample=False, num_beams=4, length_penalty=1.0, max_length=50)
    expected = [row[: row.index(2) + 1] for row in generated[:, 1:].tolist()]
    answers = first_answers(grpc, "pb", rows)
    assert answers == expected
    assert answers == [counted(first) for first in rows[:, 0].tolist()]


@pytest.mark.capability("1.5")
@pytest.mark.parametrize("name", [name for name in HDF5 if name != "f4_flat"])
def test_an_hdf5_in_either_width_flat_or_shaped_gives_the_same_ids_and_scores(grpc, name):
    ids, scores = translated(grpc, name, sources(8))
    expected_ids, expected_scores = translated(grpc, "f4_flat", sources(8))
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.capability("1.5")
def test_the_exporters_own_file_gives_the_same_ids_and_scores(grpc):
    ids, scores = translated(grpc, "float", sources(8))
    expected_ids, expected_scores = translated(grpc, "f8_flat", sources(8))
    np.testing.assert_array_equal(ids[:, 0], expected_ids[:, 0])
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4, atol=1e-5)


@pytest.mark.capability("1.10")
def test_an_8_bit_export_answers_nearly_as_the_float_export_served_beside_it(grpc):
    rows = sources(74)
    whole, quantised = first_answers(grpc, "float", rows), first_answers(grpc, "int8", rows)
    pairs = zip(whole, quantised, strict=True)
    same = sum(one == two for a, b in pairs for one, two in zip(a, b, strict=False))
    assert same >= 0.95 * sum(map(len, whole))
    assert sum(map(len, whole)) > 200


@pytest.fixture(scope="module")
def broken(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model, and three that must not load."""
    repository = tmp_path_factory.mktemp("broken")
    write_h5(add_model(repository, "good", "Transformer"), models.values, **HDF5["f4_flat"])
    wrong = models.values | {"encoder_stack/0/ffn_first_bias": np.zeros(63, np.float32)}
    write_h5(add_model(repository, "wrong_size", "Transformer"), wrong, **HDF5["f4_flat"])
    write_pb(add_model(repository, "wrong_extension", "Transformer").with_suffix(".onnx"), models.values)
    name_file(repository, "wrong_extension", "model.onnx")
    write_h5(add_model(repository, "wrong_type", "Llama"), models.values, **HDF5["f4_flat"])
    return repository


@pytest.mark.capability("1.17")
def test_models_that_cannot_load_are_unavailable_with_the_engines_words_and_the_good_one_answers(broken):
    with (
        served(broken, "--exit-on-error=false", "--strict-readiness=false") as server,
        tritonclient.http.InferenceServerClient(server.http) as client,
    ):
        entries = {entry["name"]: entry for entry in client.get_model_repository_index()}
        assert {name: entry["state"] for name, entry in entries.items()} == {
            "good": "READY",
            "wrong_size": "UNAVAILABLE",
            "wrong_extension": "UNAVAILABLE",
            "wrong_type": "UNAVAILABLE",
        }
        assert "Wrong ffn_first_bias_size !" in entries["wrong_size"]["reason"]
        assert "Supported extensions: .pb, .hdf5" in entries["wrong_extension"]["reason"]
        assert "Model not supported" in entries["wrong_type"]["reason"]
        assert "Llama" in entries["wrong_type"]["reason"]
        ids = infer(client, "good", {"source_ids": sources(8)}, "target_ids")[:, 0].tolist()
        assert [row[: row.index(2) + 1] for row in ids] == [counted(first) for first in sources(8)[:, 0].tolist()]
