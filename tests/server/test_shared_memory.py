"""Client shared memory on a real server, with tritonclient's own functions for it, as in Triton's examples."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor, serialized_byte_size, triton_to_np_dtype

from benchmarks.serving import RunningServer, running_server
from tests.kits.calls import infer
from tests.kits.repositories import add_identity, add_python_identity, write_config
from tests.kits.shared_memory import needs_shared_memory, read, shared

pytestmark = needs_shared_memory
DISABLED = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
RESERVED = "triton_python_backend_shm_region_"
SHORTER = "shared memory region 'r' is shorter than when it was registered"

SIMPLE = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            first, second = (pb_utils.get_input_tensor_by_name(request, f"INPUT{i}").as_numpy() for i in (0, 1))
            if first.dtype == np.object_:
                a, b = first.astype(np.int32), second.astype(np.int32)
                both = [numbers.astype(str).astype(np.object_) for numbers in (a + b, a - b)]
            else:
                both = [first + second, first - second]
            tensors = [pb_utils.Tensor(f"OUTPUT{i}", array) for i, array in enumerate(both)]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""
REPEAT = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for value in pb_utils.get_input_tensor_by_name(request, "IN").as_numpy().ravel():
                tensor = pb_utils.Tensor("OUT", np.array([value], np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
# Says when it has begun, and ends once the test says so.
PATIENT = """import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        Path({began!r}).touch()
        while not Path({go!r}).exists():
            time.sleep(0.002)
        tensors = [pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", tensor)]) for tensor in tensors]
"""
THREAD = 'parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }\n'


def add_simple(repository: Path, name: str, datatype: str) -> None:
    """Add the model of Triton's examples: the sum and the difference of two inputs [16]."""
    tensors = "".join(
        f'{side} {{ name: "{side.upper()}{i}" data_type: TYPE_{datatype} dims: [ 16 ] }}\n'
        for side in ("input", "output")
        for i in (0, 1)
    )
    config = f'backend: "python"\nmax_batch_size: 8\n{tensors}{THREAD}'
    (write_config(repository, name, config) / "model.py").write_text(SIMPLE)


@pytest.fixture(scope="module")
def sharing_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the server that allows shared memory."""
    repository = tmp_path_factory.mktemp("models")
    add_simple(repository, "simple", "INT32")
    add_simple(repository, "simple_string", "STRING")
    add_identity(repository)
    add_python_identity(repository)
    tensors = "".join(
        f'{side} {{ name: "{side.upper()}0" data_type: TYPE_FP32 dims: [ -1 ] }}\n' for side in ("input", "output")
    )
    patient = write_config(repository, "patient", f'backend: "python"\nmax_batch_size: 8\n{tensors}{THREAD}')
    began, go = (str(repository / name) for name in ("began", "go"))
    (patient / "model.py").write_text(PATIENT.format(began=began, go=go))
    config = (
        'backend: "python"\ninput { name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }\n'
        'output { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }\nmodel_transaction_policy { decoupled: true }\n'
    )
    (write_config(repository, "repeat", config + THREAD) / "model.py").write_text(REPEAT)
    return repository


@pytest.fixture(scope="module")
def sharing(sharing_models: Path) -> Iterator[RunningServer]:
    """A server that allows shared memory."""
    with running_server(sharing_models, "--allow-client-shm") as running:
        yield running
        assert "Traceback" not in running.log


MODULES = {"http": tritonclient.http, "grpc": tritonclient.grpc}


@contextmanager
def connected(server: RunningServer, transport: str) -> Iterator[object]:
    with MODULES[transport].InferenceServerClient(getattr(server, transport)) as client:
        yield client


@pytest.fixture(params=MODULES)
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def client(sharing: RunningServer, transport: str) -> Iterator[object]:
    """A client of the server; no region is registered before and after."""
    with connected(sharing, transport) as client:
        client.unregister_system_shared_memory()
        yield client
        client.unregister_system_shared_memory()
        assert names(client) == []


@contextmanager
def regions(*rows: tuple[str, int]) -> Iterator[list[object]]:
    """Make shared memory (name, size) with tritonclient; yield the handles. The keys are the names and this process."""
    handles = [shm.create_shared_memory_region(name, key(name), size) for name, size in rows]
    try:
        yield handles
    finally:
        for handle in handles:
            shm.destroy_shared_memory_region(handle)


def key(name: str) -> str:
    return f"/{name}-{os.getpid()}"


def names(client: object) -> list[str]:
    status = client.get_system_shared_memory_status()
    return [row["name"] for row in status] if isinstance(status, list) else sorted(status.regions)


def refused(action: object, *arguments: object, **named: object) -> str:
    with pytest.raises(InferenceServerException) as caught:
        action(*arguments, **named)
    return caught.value.message()


def places(module: object, *, inputs: dict[str, tuple], outputs: dict[str, tuple]) -> dict[str, object]:
    """Return the arguments of `infer`: name -> shape, datatype, region, size, offset; name -> region, size, offset."""
    given = []
    for name, (shape, datatype, *place) in inputs.items():
        given.append(module.InferInput(name, shape, datatype))
        given[-1].set_shared_memory(*place)
    wanted = []
    for name, place in outputs.items():
        wanted.append(module.InferRequestedOutput(name))
        wanted[-1].set_shared_memory(*place)
    return {"inputs": given, "outputs": wanted}


def contents(handle: object, output: object, offset: int = 0) -> np.ndarray:
    datatype, shape = (
        (output["datatype"], output["shape"]) if isinstance(output, dict) else (output.datatype, output.shape)
    )
    return shm.get_contents_as_numpy(handle, triton_to_np_dtype(datatype), shape, offset=offset)


NUMBERS = np.arange(16, dtype=np.int32), np.ones(16, dtype=np.int32)
SUMS = {
    "inputs": {
        "INPUT0": ([1, 16], "INT32", "input_data", 64),
        "INPUT1": ([1, 16], "INT32", "input_data", 64, 64),
    },
    "outputs": {"OUTPUT0": ("output_data", 64), "OUTPUT1": ("output_data", 64, 64)},
}


def test_the_example_with_numbers_works(client, transport):
    with regions(("output_data", 128), ("input_data", 128)) as (target, source):
        client.register_system_shared_memory("output_data", key("output_data"), 128)
        shm.set_shared_memory_region(source, [NUMBERS[0]])
        shm.set_shared_memory_region(source, [NUMBERS[1]], offset=64)
        client.register_system_shared_memory("input_data", key("input_data"), 128)
        result = client.infer("simple", **places(MODULES[transport], **SUMS))
        assert (contents(target, result.get_output("OUTPUT0"))[0] == NUMBERS[0] + NUMBERS[1]).all()
        assert (contents(target, result.get_output("OUTPUT1"), 64)[0] == NUMBERS[0] - NUMBERS[1]).all()
        assert names(client) == ["input_data", "output_data"]
        client.unregister_system_shared_memory("input_data")
        assert names(client) == ["output_data"]


def test_the_example_with_strings_works(client, transport):
    texts = [np.array([str(number).encode() for number in numbers], np.object_) for numbers in NUMBERS]
    texts = [serialize_byte_tensor(each) for each in texts]
    sizes = [serialized_byte_size(each) for each in texts]
    with regions(("output0", 128), ("output1", 128), ("inputs", sum(sizes))) as (sums, differences, source):
        shm.set_shared_memory_region(source, texts)
        for name, size in (("output0", 128), ("output1", 128), ("inputs", sum(sizes))):
            client.register_system_shared_memory(name, key(name), size)
        given = places(
            MODULES[transport],
            inputs={
                "INPUT0": ([1, 16], "BYTES", "inputs", sizes[0]),
                "INPUT1": ([1, 16], "BYTES", "inputs", sizes[1], sizes[0]),
            },
            outputs={"OUTPUT0": ("output0", 128), "OUTPUT1": ("output1", 128)},
        )
        result = client.infer("simple_string", **given)
        for handle, name, wanted in (
            (sums, "OUTPUT0", sum(NUMBERS)),
            (differences, "OUTPUT1", NUMBERS[0] - NUMBERS[1]),
        ):
            found = contents(handle, result.get_output(name))
            assert [int(text) for text in found[0]] == wanted.tolist()


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_the_asyncio_clients_work(sharing, transport):
    module = {"http": tritonclient.http.aio, "grpc": tritonclient.grpc.aio}[transport]

    async def scenario(target, source):
        async with module.InferenceServerClient(getattr(sharing, transport)) as client:
            shm.set_shared_memory_region(source, list(NUMBERS))
            await client.register_system_shared_memory("input_data", key("input_data"), 128)
            await client.register_system_shared_memory("output_data", key("output_data"), 128)
            result = await client.infer("simple", **places(module, **SUMS))
            output = result.get_output("OUTPUT0")
            assert contents(target, output)[0].tolist() == sum(NUMBERS).tolist()
            await client.unregister_system_shared_memory()
            status = await client.get_system_shared_memory_status()
            assert not (status if isinstance(status, list) else status.regions)

    with regions(("output_data", 128), ("input_data", 128)) as (target, source):
        asyncio.run(scenario(target, source))


def test_one_input_in_a_region_and_one_in_the_message(client, transport):
    module = MODULES[transport]
    with regions(("input_data", 64)) as (source,):
        shm.set_shared_memory_region(source, [NUMBERS[0]])
        client.register_system_shared_memory("input_data", key("input_data"), 64)
        given = places(module, inputs={"INPUT0": ([1, 16], "INT32", "input_data", 64)}, outputs={})
        given["inputs"].append(module.InferInput("INPUT1", [1, 16], "INT32"))
        given["inputs"][1].set_data_from_numpy(NUMBERS[1].reshape(1, 16))
        for values in (NUMBERS[0], NUMBERS[0] * 3):  # equal messages about different bytes
            shm.set_shared_memory_region(source, [values])
            result = client.infer("simple", inputs=given["inputs"])
            assert result.as_numpy("OUTPUT0")[0].tolist() == (values + NUMBERS[1]).tolist()


@pytest.mark.parametrize("model", ["identity", "python_identity"])
def test_a_large_tensor_goes_through_a_model(client, transport, model):
    values = np.arange(3 << 20, dtype=np.float32)  # 12 MiB: copied in a thread
    with shared(values.nbytes) as source, shared(values.nbytes) as target:
        source.write_bytes(values.tobytes())
        client.register_system_shared_memory("in", source.name, values.nbytes)
        client.register_system_shared_memory("out", target.name, values.nbytes)
        given = places(
            MODULES[transport],
            inputs={"INPUT0": ([1, values.size], "FP32", "in", values.nbytes)},
            outputs={"OUTPUT0": ("out", values.nbytes)},
        )
        client.infer(model, **given)
        assert target.read_bytes() == values.tobytes()
        assert names(client) == ["in", "out"]


def test_a_stream_writes_every_response_into_the_region(sharing):
    module = tritonclient.grpc
    with connected(sharing, "grpc") as client, shared(np.array([5, 6, 7], np.int32).tobytes() + bytes(4)) as file:
        client.register_system_shared_memory("r", file.name, 16)
        answers = []
        done = threading.Event()

        def received(result, error):
            answers.append(error or (result.get_response().outputs[0].shape[:], read(file, np.int32, 1, 12)))
            if len(answers) == 3:
                done.set()

        given = places(module, inputs={"IN": ([3], "INT32", "r", 12)}, outputs={"OUT": ("r", 4, 12)})
        client.start_stream(received)
        client.async_stream_infer("repeat", **given)
        assert done.wait(20)
        client.stop_stream()
        assert [shape for shape, _ in answers] == [[1]] * 3
        assert answers[-1] == ([1], [7])
        client.unregister_system_shared_memory()
        assert names(client) == []


# Attack group 19: what may be registered and used


@pytest.mark.parametrize("slashes", range(4))
def test_the_regions_of_python_models_are_out_of_reach(client, slashes):
    name = "/" * slashes + f"{RESERVED}x"
    assert refused(client.register_system_shared_memory, "r", name, 64) == (
        f"cannot register shared memory region 'r' with key '{name}' as the key contains the reserved "
        f"prefix '{RESERVED}'"
    )


@pytest.mark.parametrize("name", ["/", "///"])
def test_a_key_needs_a_name(client, name):
    expected = f"cannot register shared memory region 'r' - invalid shm key '{name}'"
    assert refused(client.register_system_shared_memory, "r", name, 64) == expected


def test_no_key_leads_out_of_shared_memory(client, tmp_path):
    outside = tmp_path / "file"
    outside.write_bytes(bytes(64))
    with shared(64) as file, shared(0) as link, shared(0) as pipe:
        link.unlink()
        link.symlink_to(outside)
        pipe.unlink()
        os.mkfifo(pipe)
        (inner := file.with_suffix(".link")).symlink_to(file)
        try:
            for name in ("../../etc/passwd", f"..{outside}", str(outside), link.name, inner.name, ".", "absent-region"):
                expected = f"Unable to open shared memory region: '{name}'"
                assert refused(client.register_system_shared_memory, "r", name, 64) == expected
        finally:
            inner.unlink()
        expected = f"Invalid shared memory region: '{pipe.name}'"
        assert refused(client.register_system_shared_memory, "r", pipe.name, 64) == expected


def test_a_region_lies_within_its_memory(client):
    invalid = "failed to register shared memory region 'r': invalid args"
    with shared(64) as file:
        for size, offset in ((65, 0), (64, 1), (1, 64), (0, 65), (32, 2**64 - 32), (2**64 - 1, 0)):
            assert refused(client.register_system_shared_memory, "r", file.name, size, offset=offset) == invalid
        assert refused(client.register_system_shared_memory, "r", file.name, 0).startswith(
            "failed to register shared memory region 'r': unable to process address space"
        )
        client.register_system_shared_memory("r", file.name, 64)
        expected = "shared memory region 'r' already in manager"
        assert refused(client.register_system_shared_memory, "r", file.name, 64) == expected


def test_a_tensor_lies_within_its_region(client, transport):
    with shared(64) as file:
        client.register_system_shared_memory("r", file.name, 64)

        def text(*place, output=False):
            inputs = {"INPUT0": ([1, 16], "FP32", *(("r", 64) if output else place))}
            given = places(MODULES[transport], inputs=inputs, outputs={"OUTPUT0": place} if output else {})
            return refused(client.infer, "identity", **given)

        for output in (False, True):
            assert text("x", 64, output=output) == "Unable to find shared memory region: 'x'"
            assert text("r", 64, 64, output=output) == "Invalid offset for shared memory region: 'r'"
            assert text("r", 64, 1, output=output) == "Invalid offset + byte size for shared memory region: 'r'"
            assert text("r", 65, output=output) == "Invalid offset + byte size for shared memory region: 'r'"
            if transport == "http":  # in gRPC these are no 64-bit numbers with a sign
                assert text("r", 64, 2**64 - 32, output=output) == "Invalid offset for shared memory region: 'r'"
                assert text("r", 2**64 - 32, 32, output=output).startswith("Integer overflow detected: byte_size (")
            else:
                assert text("r", 64, -32, output=output) == "Invalid offset for shared memory region: 'r'"
                assert text("r", -32, 32, output=output).startswith("Integer overflow detected: byte_size (")
        assert text("r", 32).endswith(
            "input byte size mismatch for input 'INPUT0' for model 'identity'. Expected 64, got 32"
        )


def test_an_output_has_to_fit_into_its_place(client, transport):
    with shared(np.ones(16, np.float32).tobytes() + bytes(64)) as file:
        client.register_system_shared_memory("r", file.name, 128)
        given = places(
            MODULES[transport], inputs={"INPUT0": ([1, 16], "FP32", "r", 64)}, outputs={"OUTPUT0": ("r", 63, 64)}
        )
        assert refused(client.infer, "identity", **given) == (
            "shared memory size specified with the request for output 'OUTPUT0' (63 bytes) should be at least 64 bytes "
            "to hold the results"
        )
        assert file.read_bytes()[64:] == bytes(64)


def test_a_region_that_is_unregistered_during_an_inference_stays_until_its_end(
    sharing, sharing_models, client, transport
):
    began, go = sharing_models / "began", sharing_models / "go"
    values = np.arange(16, dtype=np.float32)
    with shared(values.tobytes() + bytes(64)) as file, connected(sharing, transport) as another:
        client.register_system_shared_memory("r", file.name, 128)
        given = places(
            MODULES[transport], inputs={"INPUT0": ([1, 16], "FP32", "r", 64)}, outputs={"OUTPUT0": ("r", 64, 64)}
        )
        thread = threading.Thread(target=another.infer, args=("patient",), kwargs=given)
        thread.start()
        while not began.exists():
            time.sleep(0.002)
        client.unregister_system_shared_memory("r")
        client.unregister_system_shared_memory()
        assert names(client) == ["r"]
        assert "already in manager" in refused(client.register_system_shared_memory, "r", file.name, 64)
        go.touch()
        thread.join()
        assert read(file, np.float32, 16, 64) == values.tolist()
        assert names(client) == []
        began.unlink()
        go.unlink()


def test_memory_that_is_shortened_after_its_registration_does_not_kill_the_server(sharing, client, transport):
    module = MODULES[transport]
    with shared(1 << 20) as file, shared(1 << 20) as other:
        client.register_system_shared_memory("r", file.name, 1 << 20)
        client.register_system_shared_memory("s", other.name, 1 << 20)
        source = {"INPUT0": ([1, 1 << 18], "FP32", "r", 1 << 20)}
        os.truncate(file, 0)
        assert refused(client.infer, "identity", **places(module, inputs=source, outputs={})) == SHORTER
        intact = {"INPUT0": ([1, 16], "FP32", "s", 64)}
        target = {"OUTPUT0": ("r", 64)}
        assert refused(client.infer, "identity", **places(module, inputs=intact, outputs=target)) == SHORTER
        assert file.stat().st_size == 0
        done = threading.Event()

        def shorten():
            while not done.is_set():
                os.truncate(file, 0)
                os.truncate(file, 1 << 20)

        thread = threading.Thread(target=shorten)
        thread.start()
        for model in ("identity", "python_identity"):
            for _ in range(40):
                with suppress(InferenceServerException):
                    client.infer(model, **places(module, inputs=source, outputs={"OUTPUT0": ("r", 1 << 20)}))
        done.set()
        thread.join()
        assert sharing.process.poll() is None
        assert infer(client, "identity", {"INPUT0": np.ones((1, 4), np.float32)}, "OUTPUT0").tolist() == [[1] * 4]


def test_strangers_cannot_fill_the_registry(client):
    with shared(64) as file:
        client.register_system_shared_memory("first", file.name, 64)
        refusals = 0
        for number in range(1025):
            try:
                client.register_system_shared_memory(f"r{number}", file.name, 64)
            except InferenceServerException as error:
                assert "shared memory regions are registered, which is the limit" in error.message()  # noqa: PT017
                refusals += 1
        assert len(names(client)) == 1026 - refusals <= 1024
        text = refused(client.register_system_shared_memory, "n" * 257, file.name, 64)
        assert text.startswith("the name of a shared memory region may have at most 256 characters")
        assert client.is_server_ready()
        client.unregister_system_shared_memory()
        client.register_system_shared_memory("again", file.name, 64)


def test_a_name_may_be_any_text(client):
    for name in ("a b", "é", "a%2Fb", "x?y#z"):
        with shared(64) as file:
            client.register_system_shared_memory(name, file.name, 64)
            assert names(client) == [name]
            client.unregister_system_shared_memory(name)
            assert names(client) == []


def test_gpu_memory_is_refused(client, transport):
    expected = "failed to register CUDA shared memory region: 'g', GPUs not supported"
    handle = b"x" * 64
    assert refused(client.register_cuda_shared_memory, "g", handle, 0, 64) == expected
    status = client.get_cuda_shared_memory_status()
    assert (status if transport == "http" else list(status.regions)) == []
    client.unregister_cuda_shared_memory("g")
    client.unregister_cuda_shared_memory()
    assert refused(client.get_cuda_shared_memory_status, "g") == "Unable to find cuda shared memory region: 'g'"


def test_the_metadata_announces_what_is_on(client, transport):
    metadata = client.get_server_metadata()
    extensions = metadata["extensions"] if transport == "http" else metadata.extensions
    assert "system_shared_memory" in extensions
    assert "cuda_shared_memory" not in extensions


# Attack group 20: the same calls on a server that does not allow them


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that does not allow shared memory."""
    repository = tmp_path_factory.mktemp("models")
    add_identity(repository)
    with running_server(repository) as running:
        yield running


def test_a_server_without_the_flag_refuses_all_of_it(closed, transport):
    module = MODULES[transport]
    with connected(closed, transport) as client, shared(64) as file:
        for action, *arguments in (
            (client.register_system_shared_memory, "r", file.name, 64),
            (client.register_system_shared_memory, "r", "/", 2**64 - 1),
            (client.unregister_system_shared_memory,),
            (client.unregister_system_shared_memory, "r"),
            (client.register_cuda_shared_memory, "g", b"x" * 64, 0, 64),
            (client.unregister_cuda_shared_memory,),
        ):
            assert refused(action, *arguments) == DISABLED
        assert names(client) == []
        place = {"INPUT0": ([1, 16], "FP32", "r", 64)}
        assert refused(client.infer, "identity", **places(module, inputs=place, outputs={})) == DISABLED
        data = module.InferInput("INPUT0", [1, 4], "FP32")
        data.set_data_from_numpy(np.ones((1, 4), np.float32))
        wanted = places(module, inputs={}, outputs={"OUTPUT0": ("r", 16)})["outputs"]
        assert refused(client.infer, "identity", inputs=[data], outputs=wanted) == DISABLED
        assert infer(client, "identity", {"INPUT0": np.ones((1, 4), np.float32)}, "OUTPUT0").shape == (1, 4)
        metadata = client.get_server_metadata()
        extensions = metadata["extensions"] if transport == "http" else metadata.extensions
        assert not {"system_shared_memory", "cuda_shared_memory"} & set(extensions)
