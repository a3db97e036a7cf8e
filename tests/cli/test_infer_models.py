"""`slipway infer` with models that stream their responses and models that accept decoding parameters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.serving import running_server
from slipway.cli.description import ModelDescription
from slipway.cli.infer_parser import infer_parser
from slipway.cli.main import main
from slipway.cli.model_flags import GivenFlag, apply_flags, split_flags
from slipway.errors import SlipwayError
from tests.kits.repositories import write_config

# A model with some inputs of those that `slipway convert` writes; it answers what it was sent.
INPUTS = """
backend: "python" max_batch_size: 8
input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "max_output_len" data_type: TYPE_UINT32 dims: [ 1 ] optional: true }
input { name: "temperature" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
input { name: "do_sample" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
input { name: "stop" data_type: TYPE_STRING dims: [ -1 ] optional: true }
input { name: "source_language" data_type: TYPE_STRING dims: [ 1 ] optional: true }
output { name: "sent" data_type: TYPE_STRING dims: [ 1 ] }
parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }
"""
REPORTS = """
import json

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self.report(request) for request in requests]

    def report(self, request):
        sent = json.loads(request.parameters())
        for tensor in request.inputs():
            sent[tensor.name()] = [
                each.decode() if isinstance(each, bytes) else each for each in tensor.as_numpy().ravel().tolist()
            ]
        rows = len(pb.get_input_tensor_by_name(request, "text").as_numpy())
        return pb.InferenceResponse([pb.Tensor("sent", np.array([[json.dumps(sent)]] * rows, np.object_))])
"""
COUNTS = """
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            text = pb.get_input_tensor_by_name(request, "text").as_numpy().item().decode()
            for number, word in enumerate(text.split()):
                time.sleep(0.5 if number else 0)
                if word == "fail":
                    sender.send(pb.InferenceResponse(error=pb.TritonError("no such word")))
                else:
                    sender.send(pb.InferenceResponse([pb.Tensor("sent", np.array([[word]], np.object_))]))
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    decoupled = "model_transaction_policy { decoupled: true }"
    for name, config, source in (("reports", INPUTS, REPORTS), ("counts", INPUTS + decoupled, COUNTS)):
        (write_config(repository, name, config) / "model.py").write_text(source)
    with running_server(repository) as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def connection(request, server):
    return ["--protocol", request.param, "--url", getattr(server, request.param)]


def sent(capsys, *words):
    """Return what the model received."""
    assert main(["infer", "reports", "--json", *words]) == 0
    return [json.loads(json.loads(line)["sent"][0]) for line in capsys.readouterr().out.splitlines()]


def test_a_decoupled_model_is_streamed_text_by_text(capsys, connection):
    assert main(["infer", "counts", "--text", "one two", "--text", "three", *connection]) == 0
    shape = {"grpc": "[1x1]", "http": "[1]"}[connection[1]]  # generate_stream has no shapes
    expected = ["one two", f"  sent {shape} one", f"  sent {shape} two", "three", f"  sent {shape} three"]
    assert capsys.readouterr().out.splitlines() == expected


def test_each_response_of_a_stream_is_printed_when_it_arrives(connection):
    command = [sys.executable, "-m", "slipway", "infer", "counts", "--text", "a b c", "--json", *connection]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as process:
        arrivals = [time.monotonic() for _ in process.stdout]
    assert process.returncode == 0
    assert len(arrivals) == 3
    assert arrivals[2] - arrivals[0] > 0.5  # the model takes 1 s between the two


def test_a_streamed_response_as_json_is_a_line(capsys, connection):
    assert main(["infer", "counts", "--inputs", '{"text": [["one two"]]}', "--json", *connection]) == 0
    found = [json.loads(line)["sent"] for line in capsys.readouterr().out.splitlines()]
    assert found in ([[["one"]], [["two"]]], [["one"], ["two"]])


def test_a_streamed_text_is_one_line_of_the_output_file(tmp_path, connection):
    (tmp_path / "in.txt").write_text("one two\nthree\n")
    files = ["--input-file", str(tmp_path / "in.txt"), "--output-file", str(tmp_path / "out.txt")]
    assert main(["infer", "counts", *files, *connection]) == 0
    assert (tmp_path / "out.txt").read_text() == "onetwo\nthree\n"


def test_an_error_in_a_stream_ends_the_command(capsys, connection):
    assert main(["infer", "counts", "--text", "one fail", *connection]) == 1
    printed = capsys.readouterr()
    assert "one\n" in printed.out
    assert printed.err == "error: no such word\n"


def test_decoding_parameters_are_flags_under_all_their_names(capsys, connection):
    flags = ["--max-new-tokens", "20", "--temperature=0.5", "--do-sample", "--stop", "a", "--stop", "b"]
    flags += ["--source-language", "deu_Latn", "--num-beams", "2"]
    [found] = sent(capsys, "--text", "x", *flags, *connection)
    # Those that are inputs of the model arrive as inputs, the others as parameters.
    assert found == {
        "text": ["x"],
        "max_output_len": [20],
        "temperature": [0.5],
        "do_sample": [True],
        "stop": ["a", "b"],
        "source_language": ["deu_Latn"],
        "beam_width": 2,
    }


def test_flags_hold_for_every_text_and_may_stand_before_the_model(capsys, connection):
    texts = ["--text", "x", "--text", "y"]
    assert main(["infer", "--max-new-tokens", "7", "reports", *texts, "--json", *connection]) == 0
    [line, _] = capsys.readouterr().out.splitlines()
    assert json.loads(json.loads(line)["sent"][0])["max_output_len"] == [7, 7]


def test_flags_go_with_tensors_too(capsys, connection):
    words = ["--inputs", '{"text": [["x"], ["y"]]}', "--do_sample", "false", "--max-tokens", "7"]
    assert main(["infer", "reports", "--json", *words, *connection]) == 0
    found = json.loads(json.loads(capsys.readouterr().out)["sent"][0][0])
    assert (found["do_sample"], found["max_output_len"]) == ([False, False], [7, 7])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--max-new-token", "3"],
            "model 'reports' does not have a parameter --max-new-token: did you mean --max-new-tokens?",
        ),
        (
            ["--modle-version", "3"],
            "model 'reports' does not have a parameter --modle-version: did you mean --model-version?",
        ),
        (["--max-new-tokens", "many"], "--max-new-tokens is 'many', expected a whole number of 0 or more"),
        (["--temperature", "warm"], "--temperature is 'warm', expected a number"),
        (["--do-sample=perhaps"], "--do-sample is 'perhaps', expected true or false"),
        (["--num-beams"], "--num-beams needs a value (UINT32)"),
        (["--max-new-tokens", str(2**32)], f"--max-output-len is {2**32}, which is not a value of UINT32"),
        (["--num-beams", str(2**32)], f"--beam-width is {2**32}, which is not a value of UINT32"),
        (["--seed", str(2**64)], f"--random-seed is {2**64}, which is not a value of UINT64"),
        (["--seed", str(2**63)], f"--random-seed is {2**63}; as a parameter it may be at most {2**63 - 1}"),
        (["--max-new-tokens", "-1"], "--max-new-tokens is '-1', expected a whole number of 0 or more"),
        (["--num-beams", "2", "--beam-width", "3"], "--num-beams is given 2 times; model 'reports' accepts one value"),
    ],
)
def test_a_flag_that_the_model_does_not_accept_is_one_line(capsys, connection, flags, message):
    assert main(["infer", "reports", "--text", "x", *connection, *flags]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"error: {message}\n")


@pytest.mark.parametrize("model", ["reports", "counts"])
def test_an_input_that_is_also_a_flag_is_refused(capsys, connection, model):
    words = ["--inputs", '{"text": [["x"]], "temperature": [[9]]}', "--temperature", "0.5"]
    assert main(["infer", model, *words, *connection]) == 1
    printed = capsys.readouterr()
    expected = "error: input 'temperature' is given twice: with the other inputs and as a flag\n"
    assert (printed.out, printed.err) == ("", expected)


def test_the_largest_parameter_is_sent(capsys, connection):
    [found] = sent(capsys, "--text", "x", "--seed", str(2**63 - 1), *connection)
    assert found["random_seed"] == 2**63 - 1


def test_the_help_of_a_model_lists_its_flags_in_80_columns(capsys, connection, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["infer", "reports", "--help", *connection]) == 0
    printed = capsys.readouterr().out
    assert "inputs of 'reports':\n  text BYTES\n\nflags of 'reports'" in printed
    assert "  --temperature FP32\n" in printed
    assert "  --max-output-len UINT32 (or --max-new-tokens, --max-tokens,\n    --max-completion-tokens)\n" in printed
    assert "  --source-language BYTES\n" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_unknown_flags_are_split_from_the_command_with_their_values():
    words = ["--top-k", "5", "m", "--text", "a b", "--do-sample", "--seed=3", "-t", "--do-sample", "true", "--", "--n"]
    rest, flags = split_flags(words, infer_parser())
    assert rest == ["m", "--text", "a b", "-t", "--", "--n"]
    assert flags == [
        GivenFlag("--top-k", "5"),
        GivenFlag("--do-sample", None),
        GivenFlag("--seed", "3"),
        GivenFlag("--do-sample", "true"),
    ]


def test_a_model_without_parameters_says_so():
    model = ModelDescription("m", {"x": "FP32"}, {"x": (1,)}, 1)
    with pytest.raises(SlipwayError, match="model 'm' does not have a parameter --warmth: it does not accept any"):
        apply_flags([GivenFlag("--warmth", "1")], model, infer_parser(), 1)


def test_a_request_file_does_not_take_flags_of_a_model(tmp_path: Path, capsys):
    with pytest.raises(SystemExit):
        main(["infer", "m", "--request", str(tmp_path / "r.json"), "--top-k", "3"])
    assert "unrecognized arguments: --top-k" in capsys.readouterr().err
