import asyncio

import numpy as np
import pytest

from slipway.backends.identity.backend import IdentityExecutor
from slipway.core.request import InferRequest
from slipway.errors import Code
from tests.kits.engine import adder, answer, delay, explicit, identity, onnx_file, refused, request, rows, touch, until


def test_a_model_is_loaded_used_and_unloaded(tmp_path):
    identity(tmp_path, "m")

    async def scenario():
        async with explicit(tmp_path) as engine:
            assert rows(engine, "m") == [""]
            with refused(Code.NOT_FOUND, "Request for unknown model: 'm' is not found"):
                await answer(engine, "m")
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [1.0, 2.0]
            assert await engine.model_ready("m", "")
            assert rows(engine, "m") == ["1 READY"]
            await engine.unload_model("m", False)
            with refused(Code.NOT_FOUND, "Request for unknown model: 'm' has no available versions"):
                await answer(engine, "m")
            assert not await engine.model_ready("m", "")
            await until(lambda: rows(engine, "m") == ["1 UNAVAILABLE unloaded"])
            assert engine.ready()

    asyncio.run(scenario())


def test_requests_are_answered_all_through_a_reload(tmp_path):
    path = adder(tmp_path, "m", [1])

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            seen, stop = [], False

            async def client():
                while not stop:
                    seen.append((await answer(engine, "m"))[0])
                    await asyncio.sleep(0)

            clients = [asyncio.create_task(client()) for _ in range(4)]
            for add in (11, 12, 13):
                onnx_file(path / "1" / "model.onnx", add=add)
                touch(path / "1" / "model.onnx", add)
                await engine.load_model("m", None, {})
                assert (await answer(engine, "m"))[0] == 1.0 + add
            stop = True
            await asyncio.gather(*clients)
            assert set(seen) <= {2.0, 12.0, 13.0, 14.0}
            assert rows(engine, "m") == ["1 READY"]

    asyncio.run(scenario())


def test_a_failed_reload_leaves_what_serves_serving(tmp_path):
    path = adder(tmp_path, "m", [1])

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            (path / "1" / "model.onnx").write_bytes(b"not a model")
            with pytest.raises(Exception, match=r"^load failed for model 'm': version 1 is at UNAVAILABLE state: "):
                await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [2.0, 3.0]
            assert rows(engine, "m") == ["1 READY"]
            (path / "2").mkdir()
            (path / "2" / "model.onnx").write_bytes(b"")
            with pytest.raises(Exception, match="version 2 is at UNAVAILABLE state"):
                await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [2.0, 3.0]
            onnx_file(path / "2" / "model.onnx", add=2)
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [3.0, 4.0]

    asyncio.run(scenario())


def test_a_version_that_fails_takes_the_others_of_its_load_with_it(tmp_path):
    path = adder(tmp_path, "m", [1, 2], config="version_policy { all { } }")
    (path / "2" / "model.onnx").write_bytes(b"not a model")

    async def scenario():
        async with explicit(tmp_path) as engine:
            with pytest.raises(Exception, match="version 2 is at UNAVAILABLE state"):
                await engine.load_model("m", None, {})
            await until(lambda: rows(engine, "m")[0] == "1 UNAVAILABLE unloaded")
            assert rows(engine, "m")[1].startswith("2 UNAVAILABLE ")
            assert not engine.ready()
            with refused(Code.UNAVAILABLE, "Request for unknown model: 'm' version 2 is not at ready state"):
                await answer(engine, "m", "2")
            await engine.unload_model("m", False)
            assert engine.ready()

    asyncio.run(scenario())


def test_unchanged_versions_are_not_loaded_again(tmp_path):
    path = adder(tmp_path, "m", [1, 2], config="version_policy { all { } }")

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            await answer(engine, "m", "1")
            await engine.load_model("m", None, {})
            adder(tmp_path, "m", [3])
            onnx_file(path / "2" / "model.onnx", add=20)
            touch(path / "2" / "model.onnx", 1)
            await engine.load_model("m", None, {})
            counts = [entry.statistics.success.count for entry in engine.model_statistics("m", "")]
            assert counts == [1, 0, 0]
            assert await answer(engine, "m", "2") == [21.0, 22.0]
            assert await answer(engine, "m") == [4.0, 5.0]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["3"]),
        ("version_policy { latest { num_versions: 2 } }", ["2", "3"]),
        ("version_policy { all { } }", ["1", "2", "3"]),
        ("version_policy { specific { versions: [ 1, 3, 9 ] } }", ["1", "3"]),
    ],
)
def test_the_version_policy_says_what_serves(tmp_path, policy, served):
    identity(tmp_path, "m", versions=(1, 2, 3), extra=policy)

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            assert list(engine.model_metadata("m", "").versions) == served
            assert [row.split()[0] for row in rows(engine, "m")] == served
            response = await engine.infer(request("m"))
            assert response.model_version == served[-1]
            with refused(Code.NOT_FOUND, "Request for unknown model: 'm' version 99 is not found"):
                await answer(engine, "m", "99")

    asyncio.run(scenario())


def test_an_unload_waits_for_what_was_accepted(tmp_path):
    identity(tmp_path, "m", extra=delay(50))

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            accepted = [asyncio.create_task(answer(engine, "m")) for _ in range(3)]
            await asyncio.sleep(0)
            await engine.unload_model("m", False)
            assert rows(engine, "m") == ["1 UNLOADING"]
            with refused(Code.UNAVAILABLE, "Request for unknown model: 'm' version 1 is not at ready state"):
                await answer(engine, "m", "1")
            await engine.load_model("m", None, {})
            assert rows(engine, "m") == ["1 READY"]
            assert await asyncio.gather(*accepted) == [[1.0, 2.0]] * 3

    asyncio.run(scenario())


def test_loads_and_unloads_of_one_model_at_the_same_time_come_one_after_the_other(tmp_path):
    identity(tmp_path, "m")
    identity(tmp_path, "other")

    async def scenario():
        async with explicit(tmp_path) as engine:
            for _ in range(10):
                operations = [engine.load_model("m", None, {}) for _ in range(4)]
                operations += [engine.unload_model("m", False) for _ in range(4)]
                await asyncio.gather(*operations, engine.load_model("other", None, {}))
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [1.0, 2.0]

    asyncio.run(scenario())


def test_a_load_whose_client_goes_away_is_finished(tmp_path):
    identity(tmp_path, "m")

    async def scenario():
        async with explicit(tmp_path) as engine:
            task = asyncio.create_task(engine.load_model("m", None, {}))
            await asyncio.sleep(0)
            task.cancel()
            await until(lambda: rows(engine, "m") == ["1 READY"])

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("", Code.INVALID_ARG, "Model name cannot be empty. Please enter a valid name to deploy."),
        ("..", Code.INVALID_ARG, "invalid model name '..', model name must not contain path traversal characters"),
        ("absent", Code.INTERNAL, "failed to load 'absent', failed to poll from model repository"),
        ("x" * 300, Code.INTERNAL, f"failed to load '{'x' * 256}...', failed to poll from model repository"),
        ("misnamed", Code.INTERNAL, "failed to load 'misnamed', failed to poll from model repository"),
        ("unreadable", Code.INTERNAL, "failed to load 'unreadable', failed to poll from model repository"),
        (
            "empty",
            Code.INVALID_ARG,
            (
                "load failed for model 'empty': at least one version must be available under the version policy of "
                "model 'empty'\n"
            ),
        ),
        (
            "unknown_backend",
            Code.INVALID_ARG,
            (
                "load failed for model 'unknown_backend': version 1 is at UNAVAILABLE state: Invalid argument: unable "
                "to find backend library for backend 'nope', try specifying runtime on the model configuration.;\n"
            ),
        ),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_tritons_words(tmp_path, name, code, text):
    identity(tmp_path, "misnamed", extra='name: "other"')
    identity(tmp_path, "unreadable", config="naem: 1")
    identity(tmp_path, "unknown_backend", config='backend: "nope"')
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.pbtxt").write_text('backend: "identity"')

    async def scenario():
        async with explicit(tmp_path) as engine:
            with refused(code, text):
                await engine.load_model(name, None, {})
            await engine.unload_model(name, False)
            assert engine.ready()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("version", "code", "text"),
    [
        (
            "x",
            Code.INVALID_ARG,
            (
                "failed to get model version from specified version string 'x' (details: stol), version should be an "
                "integral value > 0"
            ),
        ),
        ("-1", Code.INVALID_ARG, "invalid model version specified '-1' , version should be an integral value > 0"),
        ("0", Code.NOT_FOUND, "Request for unknown model: 'm' version 0 is not found"),
    ],
)
def test_an_invalid_version_is_refused_in_tritons_words(tmp_path, version, code, text):
    identity(tmp_path, "m", versions=(2,))

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            with refused(code, text):
                await answer(engine, "m", version)
            assert await answer(engine, "m", " 2x") == [1.0, 2.0]  # read as std::stoll reads it

    asyncio.run(scenario())


def test_a_refused_request_counts_as_a_failure_of_the_model(tmp_path):
    identity(tmp_path, "m")

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            with pytest.raises(Exception, match="expected 1 inputs but got 0 inputs"):
                await engine.infer(InferRequest("m"))
            engine.record_rejected("m", "")
            engine.record_rejected("m", "1")
            engine.record_rejected("unknown", "")
            assert engine.model_statistics("m", "1")[0].statistics.fail.count == 3
            with refused(Code.INVALID_ARG, "requested model 'x' is not available"):
                engine.model_statistics("x", "")
            with refused(Code.INVALID_ARG, "requested model version is not available for model 'm'"):
                engine.model_statistics("m", "7")

    asyncio.run(scenario())


WARMUP = """
model_warmup {{ name: "sample" batch_size: {batch} count: 2 inputs {{ key: "INPUT0" value {{
  data_type: TYPE_FP32 dims: [ 2 ] {data} }} }} }}
"""


@pytest.mark.parametrize("data", ["zero_data: true", "random_data: true", 'input_data_file: "numbers"'])
def test_a_model_is_warmed_up_before_it_serves_and_warmup_is_not_counted(tmp_path, data):
    path = identity(tmp_path, "m", extra=WARMUP.format(batch=1, data=data))
    (path / "warmup").mkdir()
    (path / "warmup" / "numbers").write_bytes(bytes(8))

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            assert not engine.failed
            assert engine.model_statistics("m", "")[0].statistics.execution_count == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("rows_in_file", [1, 2])
def test_a_warmup_sample_is_one_row_and_its_batch_size_a_number_of_requests(tmp_path, rows_in_file, monkeypatch):
    path = identity(tmp_path, "m", extra=WARMUP.format(batch=3, data='input_data_file: "numbers"'))
    (path / "warmup").mkdir()
    (path / "warmup" / "numbers").write_bytes(np.arange(2 * rows_in_file, dtype=np.float32).tobytes())
    batches = []
    execute = IdentityExecutor.execute

    def recorded(self, batch):
        batches.append([pending.request.inputs["INPUT0"].array.tolist() for pending in batch])
        return execute(self, batch)

    monkeypatch.setattr(IdentityExecutor, "execute", recorded)

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            assert not engine.failed

    asyncio.run(scenario())
    assert batches == [[[[0, 1]]] * 3] * 2  # as NVIDIA's server runs them: count times, one row each


@pytest.mark.parametrize(
    ("batch", "data", "text"),
    [
        (9, "zero_data: true", "failed to run warmup sample 'sample': batch size 9 for 'm_0', max allowed is 8"),
        (1, 'input_data_file: "short"', "expects 8 bytes, but the data provided from short has 3 bytes"),
        (1, 'input_data_file: "gone"', "failed to read warmup file 'gone': No such file or directory"),
        (1, 'input_data_file: "../config.pbtxt"', "must stay within the model's "),
    ],
)
def test_a_warmup_sample_that_cannot_run_fails_the_load(tmp_path, batch, data, text):
    path = identity(tmp_path, "m", extra=WARMUP.format(batch=batch, data=data))
    (path / "warmup").mkdir()
    (path / "warmup" / "short").write_bytes(b"abc")

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            assert text in engine.failed["m"].detail
            assert str(tmp_path) not in engine.failed["m"].detail

    asyncio.run(scenario())


RELUCTANT = """
from pathlib import Path


class TritonPythonModel:
    def initialize(self, args):
        attempts = Path(args["model_repository"]) / "attempts"
        made = len(attempts.read_text()) if attempts.exists() else 0
        attempts.write_text("." * (made + 1))
        if made < 2:
            raise RuntimeError(f"not at attempt {made}")

    def execute(self, requests):
        return []
"""
RELUCTANT_CONFIG = """
backend: "python"
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
"""


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 3), (5, 3)])
def test_a_failed_load_is_tried_again_as_often_as_the_server_is_told(tmp_path, retries, attempts):
    path = identity(tmp_path, "m", config=RELUCTANT_CONFIG)
    (path / "1" / "model.py").write_text(RELUCTANT)

    async def scenario():
        async with explicit(tmp_path, model_load_retry_count=retries, disable_auto_complete_config=True) as engine:
            if attempts == 3:
                await engine.load_model("m", None, {})
                assert rows(engine, "m") == ["1 READY"]
            else:
                with pytest.raises(Exception, match=f"not at attempt {attempts - 1}"):
                    await engine.load_model("m", None, {})
                assert rows(engine, "m")[0].startswith("1 UNAVAILABLE")

    asyncio.run(scenario())
    assert len((path / "attempts").read_text()) == attempts
