"""Damaged checkpoints are refused with the reason, and other models on the server are not affected.

One server loads its models on request; each case queries the healthy model, loads a damaged one, and queries again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer
from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from tests.kits import lightseq_files as independent
from tests.kits import lightseq_models
from tests.kits.calls import infer
from tests.kits.fastertransformer_checkpoints import T5, random_checkpoint
from tests.kits.fastertransformer_models import add_model, generate, tiny_t5, write_checkpoint
from tests.kits.servers import served

QUERY = "encoder.block.1.layer.0.SelfAttention.q.weight.1.bin"
NORM = "decoder.final_layer_norm.weight.bin"
SENTENCE = [5, 17, 33, 8, 40, 12, 1]


def truncate(checkpoint: Path) -> None:
    file = checkpoint / QUERY
    file.write_bytes(file.read_bytes()[:-8])


def lengthen(checkpoint: Path) -> None:
    with (checkpoint / QUERY).open("ab") as file:
        file.write(bytes(4))


def remove_two(checkpoint: Path) -> None:
    (checkpoint / QUERY).unlink()
    (checkpoint / NORM).unlink()


def change_config(old: str, new: str) -> Callable[[Path], None]:
    def change(checkpoint: Path) -> None:
        config = checkpoint / "config.ini"
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new))

    return change


# How a T5 over two ranks is damaged, and what the reason must contain.
FASTERTRANSFORMER = {
    "truncated": (truncate, [f"truncated: {QUERY} has 184 bytes, expected 192"]),
    "oversized": (lengthen, [f"oversized: {QUERY} has 196 bytes, expected 192"]),
    "two_missing": (remove_two, [f"missing: {QUERY}", f"missing: {NORM}"]),
    "other_sizes": (
        change_config("d_ff = 16", "d_ff = 32"),
        [
            "truncated: encoder.block.0.layer.1.DenseReluDense.wi.weight.0.bin has 384 bytes, expected 768",
            "truncated: decoder.block.1.layer.2.DenseReluDense.wo.weight.1.bin has 384 bytes, expected 768",
        ],
    ),
    "more_layers": (
        change_config("num_layers = 2", "num_layers = 3"),
        ["missing: encoder.block.2.layer.0.layer_norm.weight.bin"],
    ),
    "no_figure": (change_config("d_model = 12", "d_model = twelve"), ["[encoder] d_model is 'twelve'"]),
    "no_config": (lambda checkpoint: (checkpoint / "config.ini").unlink(), ["config.ini"]),
}


def cut(file: Path) -> None:
    """Truncate a file to half its size."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def keep(_: Path) -> None:
    """Change nothing: the model type is wrong."""


def drop_bias(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        del opened["encoder_stack/1/ffn_first_bias"]


# The extension, how LightSeq's file is damaged, the model type it is served as, and what the reason must contain.
LIGHTSEQ: dict[str, tuple[str, Callable[[Path], object], str, list[str]]] = {
    "hdf5_truncated": (".hdf5", cut, "Transformer", ["model.hdf5' is not a readable HDF5 file"]),
    "hdf5_empty": (
        ".hdf5",
        lambda file: file.write_bytes(b""),
        "Transformer",
        ["model.hdf5' is not a readable HDF5 file"],
    ),
    "hdf5_field_missing": (
        ".hdf5",
        drop_bias,
        "Transformer",
        ["Wrong ffn_first_bias_size ! encoder_stack/1/ffn_first_bias is missing"],
    ),
    "hdf5_of_another_type": (".hdf5", keep, "T5", ["Wrong position_embedding_size !"]),
    "pb_truncated": (".pb", cut, "Transformer", ["model.pb'", "the file is truncated"]),
    "pb_empty": (".pb", lambda file: file.write_bytes(b""), "Transformer", ["model.pb' is empty"]),
    "pb_garbage": (
        ".pb",
        lambda file: file.write_bytes(b"no message at all"),
        "Transformer",
        ["model.pb' is not a LightSeq model"],
    ),
    "pb_of_another_type": (".pb", keep, "Bert", ["model.pb'", "model_conf/head_num", "check model_type"]),
}


def add_fastertransformer(repository: Path, name: str, damage: Callable[[Path], None]) -> None:
    """Add a random T5 over two ranks, damaged by `damage`."""
    checkpoint = add_model(repository, name, "T5") / "1-gpu"  # the default path, regardless of the number of ranks
    write_fastertransformer(random_checkpoint(T5), checkpoint, WriteOptions(ways=2))
    damage(checkpoint)


def add_lightseq(repository: Path, name: str, suffix: str, model_type: str) -> Path:
    """Add a random Transformer written by Google's protobuf or h5py; return its file."""
    file = lightseq_models.add_model(repository, name, model_type).with_suffix(suffix)
    config = file.with_name("config.pbtxt")
    config.write_text(config.read_text().replace("model.hdf5", file.name))
    if suffix == ".pb":
        file.write_bytes(independent.transformer(independent.arrays()).SerializeToString())
    else:
        independent.write_hdf5(file, independent.arrays(), dtype="f4", shaped=False)
    return file


@pytest.fixture(scope="module")
def healthy() -> Any:
    return tiny_t5()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, healthy: Any) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("damaged")
    repository = root / "models"
    write_checkpoint(healthy, add_model(repository, "healthy", "T5"), root / "hf")
    for name, (damage, _) in FASTERTRANSFORMER.items():
        add_fastertransformer(repository, name, damage)
    for name, (suffix, damage, model_type, _) in LIGHTSEQ.items():
        damage(add_lightseq(repository, name, suffix, model_type))
    add_fastertransformer(
        repository, "unknown_keys", change_config("[decoder]", "[decoder]\nflux_capacitor = 1.21 gigawatts")
    )
    with h5py.File(add_lightseq(repository, "unknown_datasets", ".hdf5", "Transformer"), "r+") as file:
        file["encoder_stack/0/warp_core_kernel"] = np.zeros(8, np.float32)
        file["model_conf/dilithium"] = 3
    with served(repository, "--model-control-mode=explicit", "--load-model=healthy") as running:
        yield running


@pytest.fixture
def grpc(server: RunningServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        yield client


def generated(client: Any, model: str, ids: list[int]) -> list[int]:
    """Return the ids that a T5 generates for one sequence."""
    arrays = {
        "input_ids": np.array([ids], np.uint32),
        "sequence_length": np.array([[len(ids)]], np.uint32),
        "max_output_len": np.array([[12]], np.uint32),
    }
    length = infer(client, model, arrays, "sequence_length")[0, 0]
    return infer(client, model, arrays, "output_ids")[0, 0, :length].tolist()


def entry(client: Any, model: str) -> dict[str, str]:
    """Return the model's line of the repository index."""
    index = client.get_model_repository_index(as_json=True)["models"]
    return next(each for each in index if each["name"] == model)


@pytest.mark.parametrize(
    ("model", "parts"),
    [(name, row[-1]) for table in (FASTERTRANSFORMER, LIGHTSEQ) for name, row in table.items()],
)
def test_a_damaged_checkpoint_is_unavailable_by_what_is_wrong_with_it_and_a_healthy_model_goes_on(
    grpc, healthy, model, parts
):
    expected = generate(healthy, SENTENCE, 12)[0]
    assert generated(grpc, "healthy", SENTENCE) == expected
    with pytest.raises(InferenceServerException, match=f"load failed for model '{model}'"):
        grpc.load_model(model)
    found = entry(grpc, model)
    assert found["state"] == "UNAVAILABLE"
    for part in parts:
        assert part in found["reason"]
    assert not grpc.is_model_ready(model)
    assert generated(grpc, "healthy", SENTENCE) == expected


def test_unknown_keys_of_a_config_ini_are_warned_of_and_the_model_is_served(server, grpc):
    grpc.load_model("unknown_keys")
    assert entry(grpc, "unknown_keys")["state"] == "READY"
    warnings = [line for line in server.log.splitlines() if line.startswith("W") and "flux_capacitor" in line]
    assert len(warnings) == 1
    assert "ignored: [decoder] flux_capacitor" in warnings[0]
    assert 1 <= len(generated(grpc, "unknown_keys", [5, 6, 1])) <= 12


def test_unknown_datasets_of_an_hdf5_are_warned_of_and_the_model_is_served(server, grpc):
    grpc.load_model("unknown_datasets")
    assert entry(grpc, "unknown_datasets")["state"] == "READY"
    warned = [line for line in server.log.splitlines() if line.startswith("W") and "skipped unknown" in line]
    for name in ("encoder_stack/0/warp_core_kernel", "model_conf/dilithium"):
        assert any(name in line for line in warned)
    ids = infer(grpc, "unknown_datasets", {"source_ids": np.array([[3, 4, 5]], np.int32)}, "target_ids")
    assert ids.shape[:2] == (1, 4)
