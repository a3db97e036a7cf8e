"""Tensors between the steps of an ensemble keep or change their shape exactly as in the reference server.

Every combination of ensemble, maker and taker that batch or not, of ranks, and of what the maker really answers, which
need not be what it declares: several hundred requests to both servers.
"""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from benchmarks.reference import CannotRunError, reference_server
from benchmarks.serving import running_server

MAKER = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            wanted = pb_utils.get_input_tensor_by_name(request, "WANTED").as_numpy()
            shape = [int(size) for size in wanted.reshape(-1, wanted.shape[-1])[0] if size >= 0]
            made = np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(shape)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("MADE", made)]))
        return responses
"""
TAKER = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(request, "IN").as_numpy())]
            )
            for request in requests
        ]
"""
SIZES = (0, 8)
RANKS = (1, 2)
SHAPES = ((1,), (2,), (3,), (1, 1), (1, 2), (2, 1), (2, 2), (1, 1, 2), (2, 1, 1), (1, 2, 2))
WIDTH = 3
COMBINATIONS = tuple(itertools.product(SIZES, SIZES, RANKS, SIZES, RANKS, RANKS))


def _tensor(name: str, rank: int) -> str:
    return f'{{ name: "{name}" data_type: TYPE_INT32 dims: [ {", ".join(["-1"] * rank)} ] }}'


def _leaf(root, name: str, code: str, size: int, given: str, made: str) -> None:
    (root / name / "1").mkdir(parents=True)
    (root / name / "1" / "model.py").write_text(code)
    text = f'backend: "python"\nmax_batch_size: {size}\ninput [ {given} ]\noutput [ {made} ]\n'
    (root / name / "config.pbtxt").write_text(text + "instance_group [ { kind: KIND_CPU } ]\n")


def _name(size: int, maker: int, maker_rank: int, taker: int, taker_rank: int, rank: int) -> str:
    return f"e{size}_m{maker}x{maker_rank}_t{taker}x{taker_rank}_o{rank}"


def _write_repository(root) -> None:
    for size, rank in itertools.product(SIZES, RANKS):
        _leaf(root, f"m{size}x{rank}", MAKER, size, _tensor("WANTED", 1), _tensor("MADE", rank))
        _leaf(root, f"t{size}x{rank}", TAKER, size, _tensor("IN", rank), _tensor("OUT", rank))
    for size, maker, maker_rank, taker, taker_rank, rank in COMBINATIONS:
        directory = root / _name(size, maker, maker_rank, taker, taker_rank, rank)
        (directory / "1").mkdir(parents=True)
        (directory / "config.pbtxt").write_text(
            f'platform: "ensemble"\nmax_batch_size: {size}\n'
            f"input [ {_tensor('WANTED', 1)} ]\noutput [ {_tensor('OUT', rank)} ]\n"
            f'ensemble_scheduling {{ step [ {{ model_name: "m{maker}x{maker_rank}" model_version: -1 '
            f'input_map {{ key: "WANTED" value: "WANTED" }} output_map {{ key: "MADE" value: "x" }} }}, '
            f'{{ model_name: "t{taker}x{taker_rank}" model_version: -1 '
            f'input_map {{ key: "IN" value: "x" }} output_map {{ key: "OUT" value: "OUT" }} }} ] }}\n'
        )


def _post(port: int, model: str, shape: list[int], data: list[int]) -> tuple[int, object]:
    document = {"inputs": [{"name": "WANTED", "datatype": "INT32", "shape": shape, "data": data}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/{model}/infer", json.dumps(document).encode(), method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            output = json.load(response)["outputs"][0]
            return response.status, (output["shape"], output["data"])
    except urllib.error.HTTPError as error:
        return error.code, json.load(error).get("error")


def _ready(port: int, model: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/{model}/ready", timeout=30):
            return True
    except urllib.error.HTTPError:
        return False


def _lied_about_rows(combination: tuple[int, ...], made: tuple[int, ...], rows: int) -> bool:
    """Whether a maker that batches answered one row with another number of them to a taker that does not batch.

    Both servers refuse. The reference first drops what it takes for a batch dimension of 1 and then names a shape or a
    size that nobody sent; the true shape says more.
    """
    _, maker, _, taker, *_ = combination
    return maker > 0 and taker == 0 and rows < 2 and made[0] != 1


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shapes")
    _write_repository(directory / "models")
    with ExitStack() as stack:
        try:
            flags = ["--exit-on-error=false", "--strict-readiness=false"]
            theirs, _ = stack.enter_context(reference_server(directory / "models", directory / "reference.log", *flags))
        except CannotRunError as error:
            pytest.skip(f"the reference server cannot run here: {error}")
        ours = stack.enter_context(running_server(directory / "models", *flags))
        yield ours.ports.http, theirs.http


def test_both_servers_load_the_same_ensembles(ports):
    ours, theirs = ports
    names = [_name(*combination) for combination in COMBINATIONS]
    assert [name for name in names if _ready(ours, name)] == [name for name in names if _ready(theirs, name)]


def test_both_servers_give_every_answer_the_same_shape(ports):
    ours, theirs = ports
    different, asked = [], 0
    for combination in COMBINATIONS:
        name = _name(*combination)
        if not _ready(theirs, name):
            continue
        for made, rows in itertools.product(SHAPES, (1, 2) if combination[0] else (0,)):
            wanted = [*made, *[-1] * (WIDTH - len(made))]
            shape, data = ([rows, WIDTH], wanted * rows) if rows else ([WIDTH], wanted)
            asked += 1
            one, two = (_post(port, name, shape, data) for port in (ours, theirs))
            if one != two and not (_lied_about_rows(combination, made, rows) and one[0] == two[0] == 400):
                different.append(f"{name} rows {rows} makes {list(made)}: {one}, reference {two}")
    assert asked > 300
    assert not different, f"{len(different)} of {asked}:\n" + "\n".join(different)
