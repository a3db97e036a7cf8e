"""The document's commands from a trained model to a served one: export, compile, serve, query, translate, stop."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from benchmarks.serving import running_server
from slipway.checkpoints.tensor2tensor.example import encode_example
from slipway.cli.main import main
from tests.kits.tensor2tensor_models import PROBLEM, vocabulary, write_data, write_trained

NODE = "EnDeTransformer/transformer/{0}coder/transformer_{0}coder/while/body/ParallelMapDataset/tmp_batch-1"
LINES = ["hello world", "good bye and hello again", "", "hello, hello!", "world", "and Again, and again: 12 worlds"]
SECONDS = 60  # in which a server ends, on a busy machine


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root = tmp_path_factory.mktemp("t2t")
    write_trained(root / "triton_model_dir", end=0.0)
    write_data(root / "data")
    return root


@pytest.fixture(scope="module")
def exported(paths):
    """The document's export, with shorter translations."""
    code = main(
        [
            "t2t-exporter",
            "--model=transformer",
            "--hparams_set=transformer_tpu=True",
            f"--problem={PROBLEM}",
            f"--data_dir={paths / 'data'}",
            f"--output_dir={paths / 'triton_model_dir'}",
            f"--export_dir={paths / 'triton_infer_model'}",
            "--decode_hparams=extra_length=6",
        ]
    )
    assert code == 0
    return paths / "triton_infer_model"


@pytest.fixture(scope="module")
def compiled(exported):
    """The document's compilation, flag by flag."""
    servo = exported / "export/Servo/1"
    code = main(
        [
            "tritonc",
            "--inference_input_dtype=FP32",
            "--inference_output_dtype=FP32",
            "--first_batch_timeout=60000",
            "--model_name=transformer",
            "--model_version=1",
            f"--input_node_name={NODE.format('en')}",
            "--input_node_shape=1:1:32768:1",
            f"--output_node_name={NODE.format('de')}",
            "--output_node_shape=1:1:32768:1",
            f"--output_layer_names={NODE.format('de')}",
            f"--savedmodel_directory={servo}",
        ]
    )
    assert code == 0
    return servo


@pytest.fixture(scope="module")
def server(compiled):
    with running_server(compiled, name="tritonserver") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with tritonclient.grpc.InferenceServerClient(server.grpc) as connected:
        yield connected


def sent(name, array, datatype):
    tensor = tritonclient.grpc.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


@pytest.mark.capability("2.14")
def test_the_export_is_a_directory_named_after_the_time(exported):
    (export,) = exported.iterdir() if not (exported / "export").exists() else exported.glob("[0-9]*")
    assert re.fullmatch(r"\d{10}", export.name)
    assert '"extra_length": 6' in (export / "decoding.json").read_text()


def test_an_export_that_is_not_compiled_yet_is_explained(exported):
    servo = exported / "export/Servo/2"
    command = [sys.executable, "-m", "slipway", "tritonserver", f"--model-repository={servo}", "--http-port=0"]
    done = subprocess.run(
        [*command, "--grpc-port=0", "--metrics-port=0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert re.search(rf"'.*/\d{{10}}' is not compiled yet: tritonc --savedmodel_directory={servo}", done.stderr)


@pytest.mark.capability("2.15")
def test_what_names_no_node_is_recorded_in_the_config(compiled):
    config = (compiled / "transformer/config.pbtxt").read_text()
    for flag, value in (("input_node_name", NODE.format("en")), ("output_node_shape", "1:1:32768:1")):
        assert re.search(rf'key: "{flag}"\s+value {{\s+string_value: "{re.escape(value)}"', config)


@pytest.mark.capability("2.16")
def test_the_path_of_the_export_is_served_as_the_model_version_1(server, client):
    assert client.is_model_ready("transformer", "1")
    assert [(each.name, each.version) for each in client.get_model_repository_index().models] == [("transformer", "1")]


def test_the_compiled_model_is_checked_and_verified_without_complaint(compiled):
    assert main(["check", str(compiled)]) == 0
    assert main(["verify", str(compiled)]) == 0


@pytest.mark.capability("2.16")
def test_slipway_serve_serves_the_same_path(compiled):
    with running_server(compiled) as running, tritonclient.http.InferenceServerClient(running.http) as http:
        assert http.is_model_ready("transformer", "1")


def test_text_ids_and_serialized_examples_are_answered_over_both_protocols(server, client):
    ids = [*vocabulary().encode("hello world"), 1]
    forms = (
        ("INPUT_TEXT", np.array([[b"hello world"]], np.object_), "BYTES"),
        ("inputs", np.array([ids], np.int32), "INT32"),
        ("input", np.array([[encode_example({"inputs": ids})]], np.object_), "BYTES"),
    )
    found = []
    for name, array, datatype in forms:
        answer = client.infer("transformer", [sent(name, array, datatype)])
        found.append([answer.as_numpy(output).tolist() for output in ("outputs", "scores", "OUTPUT_TEXT")])
    assert found[1:] == found[:-1]
    with tritonclient.http.InferenceServerClient(server.http) as http:
        tensor = tritonclient.http.InferInput("INPUT_TEXT", [1, 1], "BYTES")
        tensor.set_data_from_numpy(forms[0][1])
        assert http.infer("transformer", [tensor]).as_numpy("outputs").tolist() == found[0][0]


@pytest.mark.capability("2.17")
def test_a_file_through_the_server_equals_the_local_decoder(server, exported, paths, tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{line}\n" for line in LINES))
    (export,) = exported.glob("[0-9]*")
    decoder = ["t2t-decoder", f"--output_dir={export}", f"--decode_from_file={source}"]
    assert main([*decoder, f"--decode_to_file={tmp_path / 'local.txt'}", "--threads=1"]) == 0
    client = ["triton_client", f"--server={server.http}", "--model-name=transformer", "--model-version=1"]
    assert main([*client, f"--input_file={source}", f"--output_file={tmp_path / 'served.txt'}"]) == 0
    served = (tmp_path / "served.txt").read_text().split("\n")
    assert served == (tmp_path / "local.txt").read_text().split("\n")
    assert len(served) == len(LINES) + 1


@pytest.mark.capability("2.18")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_one_query_prints_the_output_and_its_score(server, client, paths, capsys, protocol):
    query = ["t2t-query-server", f"--server={getattr(server, protocol)}", "--servable_name=transformer"]
    query += [f"--problem={PROBLEM}", f"--data_dir={paths / 'data'}", "--inputs_once=hello world"]
    assert main(query) == 0
    answer = client.infer("transformer", [sent("INPUT_TEXT", np.array([[b"hello world"]], np.object_), "BYTES")])
    text, score = answer.as_numpy("OUTPUT_TEXT")[0, 0].decode(), answer.as_numpy("scores")[0, 0]
    assert capsys.readouterr().out == f"Input:\nhello world\n\nOutput (Score {score:.3f}):\n{text}\n\n"


@pytest.mark.capability("2.18")
def test_queries_are_read_from_standard_input_until_q(server, paths, capsys, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("hello\ngood bye\nq\nworld\n"))
    query = ["t2t-query-server", f"--server={server.grpc}", "--servable_name=transformer"]
    assert main([*query, f"--problem={PROBLEM}", f"--data_dir={paths / 'data'}"]) == 0
    assert re.findall("Input:\n(.*)\n", capsys.readouterr().out) == ["hello", "good bye"]


def test_a_query_of_another_model_or_nobody_is_explained(server, paths, capsys):
    rest = [f"--problem={PROBLEM}", f"--data_dir={paths / 'data'}", "--inputs_once=hello"]
    assert main(["t2t-query-server", f"--server={server.http}", "--servable_name=nobody", *rest]) == 1
    assert "nobody" in capsys.readouterr().err
    assert main(["t2t-query-server", "--server=127.0.0.1:1", "--servable_name=transformer", *rest]) == 1
    assert "no server answers at 127.0.0.1:1" in capsys.readouterr().err


def test_a_query_does_not_take_another_problems_vocabulary(server, tmp_path, capsys):
    vocabulary().save(tmp_path / "vocab.translate_else.8192.subwords")
    query = ["t2t-query-server", f"--server={server.http}", "--servable_name=transformer", f"--problem={PROBLEM}"]
    assert main([*query, f"--data_dir={tmp_path}", "--inputs_once=hello"]) == 1
    assert "vocab.translate_ende_wmt8k.8192.subwords': the file does not exist" in capsys.readouterr().err


def pending(server):
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as response:
        text = response.read().decode()
    found = re.search(r'nv_inference_pending_request_count{[^}]*model="transformer"[^}]*} (\d+)', text)
    return int(found[1]) if found else 0


@pytest.mark.capability("2.19")
def test_sigterm_answers_what_is_in_flight_ends_with_0_and_frees_the_ports(compiled):
    answers = []

    def ask():
        with tritonclient.grpc.InferenceServerClient(server.grpc) as own:
            long = [
                sent("INPUT_TEXT", np.array([[b"hello world"]], np.object_), "BYTES"),
                sent("beam_size", np.array([[1]], np.int32), "INT32"),
                sent("extra_length", np.array([[3000]], np.int32), "INT32"),
            ]
            answers.append(own.infer("transformer", long).as_numpy("outputs").shape)

    with running_server(compiled, name="tritonserver") as server:
        first, second = threading.Thread(target=ask), threading.Thread(target=ask)
        first.start()
        second.start()
        while not pending(server) and len(answers) < 2:  # the first is being computed, the second waits for it
            time.sleep(0.01)
        assert len(answers) < 2, "both were answered before they were seen"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0
        first.join()
        second.join()
        assert len(answers) == 2
        for port in (server.ports.http, server.ports.grpc):
            with socket.create_server(("127.0.0.1", port)):
                pass
