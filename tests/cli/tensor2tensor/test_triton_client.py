"""`triton_client` against real servers: one output line per input line, in order, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from benchmarks.serving import running_server
from slipway.cli.main import main
from tests.kits.certificates import encrypting_proxy, write_certificates
from tests.kits.repositories import write_config
from tests.kits.signals import interruptible

CONFIG = """backend: "python"
max_batch_size: 4
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "UPPER" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU count: 4 } ]
parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }
"""
# Answers in capitals, after a delay that differs from request to request; refuses lines that say so, and counts.
MODEL = """import random
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()) for request in requests]

    def answer(self, texts):
        lines = [text.decode() for text in texts.ravel()]
        time.sleep(random.random() * DELAY)
        if any("refuse" in line for line in lines):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("a line cannot be translated"))
        answers = [line.upper().replace("|", "\\n").encode() for line in lines]
        return pb_utils.InferenceResponse([pb_utils.Tensor("UPPER", np.array(answers, object).reshape(texts.shape))])
"""


def write_model(repository, name="upper", delay=0.01, config=CONFIG):
    version = write_config(repository, name, config)
    (version / "model.py").write_text(MODEL.replace("DELAY", str(delay)))
    return repository


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = write_model(tmp_path_factory.mktemp("models"))
    write_model(repository, "slow", delay=0.2)
    single = CONFIG.replace("max_batch_size: 4", "max_batch_size: 0")
    write_model(repository, "single", config=single)
    write_model(repository, "elementwise", config=single.replace("dims: [ 1 ]", "dims: [ -1 ]"))
    write_config(
        repository,
        "numbers",
        """backend: "identity"
max_batch_size: 4
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
""",
    )
    return repository


@pytest.fixture(scope="module")
def server(repository):
    with running_server(repository) as started:
        yield started


def arguments(address, source, target, *flags, model="upper"):
    return [
        "triton_client",
        f"--server={address}",
        f"--model-name={model}",
        "--model-version=1",
        f"--input_file={source}",
        f"--output_file={target}",
        *flags,
    ]


def process(*words, **options):
    return subprocess.Popen([sys.executable, "-m", "slipway", *words], stderr=subprocess.PIPE, **options)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("".join(f"line {number} of some text\n" for number in range(200)))
    return path


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.txt"


def wait_for_lines(path, count):
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.capability("2.17")
def test_as_many_lines_come_out_as_go_in_in_the_same_order(server, source, target, capsys):
    assert main(arguments(server.http, source, target)) == 0
    assert target.read_text() == source.read_text().upper()
    assert capsys.readouterr().err.startswith("200 lines in ")


@pytest.mark.parametrize("model", ["upper", "single", "elementwise"])
def test_grpc_gives_the_same_lines(server, source, target, model):
    assert main(arguments(server.grpc, source, target, "--protocol=grpc", model=model)) == 0
    assert target.read_text() == source.read_text().upper()


@pytest.mark.parametrize("model", ["single", "elementwise"])
def test_models_without_a_batch_axis_answer_too(server, source, target, model):
    assert main(arguments(server.http, source, target, model=model)) == 0
    assert target.read_text() == source.read_text().upper()


@pytest.mark.parametrize("flags", [["--batch_size=1"], ["--batch-size", "3", "--concurrency=1"], ["--concurrency=50"]])
def test_the_result_does_not_depend_on_how_lines_are_sent(server, source, target, flags):
    assert main(arguments(server.http, source, target, *flags)) == 0
    assert target.read_text() == source.read_text().upper()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b""),
        (b"\n", b"\n"),
        (b"a\n\n\nb", b"A\n\n\nB\n"),
        (b"a\r\nb\r\n", b"A\nB\n"),
        ("\u00e4\u2028b\x85c\n\x0cd\n".encode(), "\u00c4\u2028B\x85C\n\x0cD\n".encode()),
        (b"a|b\nc\n", b"A B\nC\n"),
        (b"a" * 300_000 + b"\nb\n", b"A" * 300_000 + b"\nB\n"),
    ],
    ids=["nothing", "an empty line", "empty lines", "returns", "separators", "a line end in a result", "a long line"],
)
def test_each_line_has_one_output_line(server, tmp_path, target, text, expected):
    (tmp_path / "in").write_bytes(text)
    assert main(arguments(server.http, tmp_path / "in", target)) == 0
    assert target.read_bytes() == expected


def test_lines_come_from_standard_input_and_go_to_standard_output(server, source):
    words = arguments(server.http, "-", "-")
    with (
        source.open("rb") as given,
        process(*words, stdin=given, stdout=subprocess.PIPE, text=True) as client,
    ):
        printed, errors = client.communicate()
    assert (client.returncode, printed) == (0, source.read_text().upper())
    assert errors.startswith("200 lines in ")


def test_a_line_is_answered_before_the_next_one_is_typed(server):
    words = arguments(server.http, "-", "-")
    with process(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        for line in ("one", "two"):
            client.stdin.write(f"{line}\n")
            client.stdin.flush()
            assert client.stdout.readline() == f"{line.upper()}\n"
        client.stdin.close()
        assert client.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_without_repeating_or_losing_a_line(server, source, target, number, capsys):
    words = arguments(server.http, source, target, model="slow")
    with interruptible(), process(*words) as client:
        wait_for_lines(target, 20)
        client.send_signal(number)
        _, errors = client.communicate()
    assert client.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert b"the same command goes on with the rest" in errors
    begun = target.read_bytes()
    done = begun.count(b"\n")
    assert 20 <= done < 200
    with target.open("ab") as file:
        file.write(b"a line that was cut o")
    assert main(arguments(server.http, source, target, "--model-name=slow")) == 0
    assert target.read_text() == source.read_text().upper()
    assert f"{200 - done} lines in " in capsys.readouterr().err


def test_an_input_that_has_changed_does_not_go_on(server, source, target, capsys):
    words = arguments(server.http, source, target, model="slow")
    with process(*words) as client:
        wait_for_lines(target, 5)
        client.kill()
    kept = target.read_bytes()
    source.write_text("something else\n")
    assert main(words) == 1
    assert "this one has another input: --restart begins again" in capsys.readouterr().err
    assert target.read_bytes() == kept
    assert main([*words, "--restart"]) == 0
    assert target.read_text() == "SOMETHING ELSE\n"


def test_a_finished_run_is_done_again_and_replaces_its_output(server, source, target):
    words = arguments(server.http, source, target)
    assert main(words) == 0
    source.write_text("new\n")
    assert main(words) == 0
    assert target.read_text() == "NEW\n"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_restarts_in_the_middle_loses_nothing(tmp_path, source, target, protocol):
    repository = write_model(tmp_path / "models", delay=0.1)
    with running_server(repository) as first:
        port = getattr(first.ports, protocol)
        client = process(*arguments(f"127.0.0.1:{port}", source, target, f"--protocol={protocol}"))
        wait_for_lines(target, 20)
        first.process.kill()
        first.process.wait()
    with running_server(repository, f"--{protocol}-port={port}"):
        _, errors = client.communicate()
    assert (client.returncode, errors.startswith(b"200 lines in ")) == (0, True)
    assert target.read_text() == source.read_text().upper()


def test_a_client_waits_for_a_server_that_is_starting(tmp_path, source, target):
    repository = write_model(tmp_path / "models")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = process(*arguments(f"127.0.0.1:{port}", source, target))
    with running_server(repository, f"--http-port={port}"):
        client.communicate()
    assert client.returncode == 0
    assert target.read_text() == source.read_text().upper()


def test_refused_lines_are_empty_and_reported_and_the_others_are_not_affected(server, tmp_path, target, capsys):
    lines = [f"line {number}" for number in range(50)]
    lines[7] = lines[30] = "refuse this"
    lines[40] = "x" * 2000
    (tmp_path / "in").write_text("\n".join(lines))
    assert main(arguments(server.http, tmp_path / "in", target, "--max_line_bytes=1000")) == 1
    wanted = ["" if "refuse" in line or len(line) > 1000 else line.upper() for line in lines]
    assert target.read_text() == "".join(f"{line}\n" for line in wanted)
    errors = capsys.readouterr().err
    assert (
        "warning: 3 lines refused, which left empty lines in the output; the first is line 8: a line cannot be"
        in errors
    )


def test_a_run_stops_when_every_line_is_refused_and_writes_none_of_them(server, tmp_path, target, capsys):
    (tmp_path / "in").write_text("good\n" * 8 + "refuse\n" * 500)
    words = arguments(server.http, tmp_path / "in", target, "--max_refused=20", "--batch_size=1")
    assert main(words) == 1
    errors = capsys.readouterr().err
    assert "error: 20 lines in a row were refused, the last with: a line cannot be translated; 8 lines in" in errors
    assert target.read_text() == "GOOD\n" * 8


def test_bytes_that_are_not_text_are_replaced_and_reported(server, tmp_path, target, capsys):
    (tmp_path / "in").write_bytes(b"good\nb\xffd\n")
    assert main(arguments(server.http, tmp_path / "in", target)) == 0
    assert target.read_text() == "GOOD\nB\ufffdD\n"
    assert "bytes that are not UTF-8 were replaced by U+FFFD in 1 line, first in line 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model_name=uper"], "the server does not have the model 'uper': did you mean 'upper'?"),
        (["--model_name=uper", "--protocol=grpc"], "the server does not have the model 'uper'"),
        (["--model_name=numbers"], "model 'numbers' does not have a string input (inputs: INPUT0 FP32)"),
        (["--input_name=TXT"], "does not have the string input 'TXT'; did you mean 'TEXT'?"),
        (["--output_name=LOWER"], "does not have the string output 'LOWER'"),
        (["--input_file=nowhere"], "No such file or directory: 'nowhere'"),
        (["--input_file=."], "Is a directory: '.'"),
        (["--output_file=no/where"], "No such file or directory: 'no/where'"),
        (["--server=localhost:http"], "is not an address"),
    ],
)
def test_a_mistake_is_named_and_leaves_the_output_alone(server, source, target, capsys, flags, message):
    target.write_text("kept\n")
    address = server.grpc if "--protocol=grpc" in flags else server.http
    assert main(arguments(address, source, target, *flags)) == 1
    assert message in capsys.readouterr().err
    assert target.read_text() == "kept\n"


def test_the_input_is_not_overwritten(server, source, capsys):
    text = source.read_text()
    assert main(arguments(server.http, source, source)) == 1
    assert "is the input" in capsys.readouterr().err
    assert source.read_text() == text


def test_the_port_of_grpc_is_recognised(server, source, target, capsys):
    assert main(arguments(server.grpc, source, target)) == 1
    assert "speaks gRPC, not HTTP" in capsys.readouterr().err


def test_a_server_that_is_away_is_given_up(source, target, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(arguments(address, source, target, "--retry_secs=0.3")) == 1
    assert f"the connection to {address} failed" in capsys.readouterr().err


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("tls"))


@contextmanager
def encrypted(protocol, server, repository, certificates):
    """The port of a server that encrypts."""
    if protocol == "http":
        with encrypting_proxy(server.ports.http, certificates) as port:
            yield port
        return
    flags = ("--grpc-use-ssl=true", f"--grpc-server-cert={certificates / 'server.pem'}")
    with running_server(repository, *flags, f"--grpc-server-key={certificates / 'server.key'}") as started:
        yield started.ports.grpc


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_connection_is_encrypted_on_request(server, repository, certificates, source, target, capsys, protocol):
    with encrypted(protocol, server, repository, certificates) as port:
        words = arguments(f"https://localhost:{port}", source, target, f"--protocol={protocol}")
        assert main([*words, f"--ca_certificate={certificates / 'ca.pem'}"]) == 0
        assert target.read_text() == source.read_text().upper()
        assert main(words) == 1
        assert "--ca-certificate FILE names the authority to trust" in capsys.readouterr().err


@contextmanager
def answering(response):
    """A server that gives every request the same answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while connection.recv(65536):
                        connection.sendall(response)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_another_http_server_is_recognised(source, target, capsys):
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as address:
        assert main(arguments(address, source, target)) == 1
    assert "an HTTP server that is not an inference server" in capsys.readouterr().err


def test_a_reader_that_stops_reading_holds_the_client_back(server, tmp_path):
    (tmp_path / "in").write_text("0123456789\n" * 200_000)
    write_end = tmp_path / "pipe"
    os.mkfifo(write_end)
    words = arguments(server.http, tmp_path / "in", write_end, "--batch_size=4", model="upper")
    with process(*words) as client, write_end.open("rb") as pipe:
        first = pipe.readline()
        client.kill()
        rest = pipe.read()
    assert first == b"0123456789\n"
    assert len(rest) < 2_000_000
