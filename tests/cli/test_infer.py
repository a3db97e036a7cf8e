"""`slipway infer` against a real server."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.serving import running_server
from slipway.cli import client
from slipway.cli.description import ModelDescription
from slipway.cli.main import main
from tests.kits.repositories import add_identity


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    add_identity(repository, "echo", datatype="STRING", dims="[ 1 ]")
    add_identity(repository, "numbers")
    with running_server(repository) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def connection(request, server):
    return ["--protocol", request.param, "--url", getattr(server, request.param)]


def test_texts_are_answered_one_by_one(capsys, connection):
    assert main(["infer", "echo", "--text", "größer", "--text", "b", *connection]) == 0
    assert capsys.readouterr().out == "größer\n  OUTPUT0 [1] größer\nb\n  OUTPUT0 [1] b\n"


def test_answers_as_json_are_one_line_per_text(capsys, connection):
    assert main(["infer", "echo", "--text", "a", "--text", "b", "--json", *connection]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"text": "a", "OUTPUT0": ["a"]}, {"text": "b", "OUTPUT0": ["b"]}]


def test_a_file_of_n_lines_gives_a_file_of_n_lines_in_order(tmp_path, connection):
    lines = [f"line {number}" for number in range(40)]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    files = ["--input-file", str(tmp_path / "in.txt"), "--output-file", str(tmp_path / "out.txt")]
    assert main(["infer", "echo", *files, *connection]) == 0
    assert (tmp_path / "out.txt").read_text().splitlines() == lines


def test_tensors_are_given_as_json_by_name(capsys, connection):
    assert main(["infer", "numbers", "--inputs", '{"INPUT0": [[1, 2.5]]}', *connection]) == 0
    assert capsys.readouterr().out == "OUTPUT0 [1x2] 1 2.5\n"


def test_as_many_numbers_are_printed_as_fit_the_terminal(capsys, connection, monkeypatch):
    inputs = ["--inputs", json.dumps({"INPUT0": [[-1 / number for number in range(3, 30)]]})]
    for columns, shown in (("80", 5), ("200", 8)):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["infer", "numbers", *inputs, *connection]) == 0
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith("OUTPUT0 [1x27] -0.333333 -0.25 -0.2 ")
        assert line.endswith(" ...")
        assert len(line) <= int(columns)
        assert line.count(" -0.") >= shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody", "--text", "a"], "Request for unknown model: 'nobody' is not found"),
        (["numbers", "--text", "a"], "model 'numbers' has 0 string inputs (INPUT0 FP32); use --inputs"),
        (["numbers", "--inputs", "{"], "the inputs are not valid JSON"),
        (["numbers", "--inputs", '{"x": 1}'], "model 'numbers' has no input 'x'; inputs: INPUT0"),
        (["numbers", "--inputs", '{"INPUT0": ["a"]}'], "input 'INPUT0' does not contain FP32 values"),
        (["echo", "--input-file", "/nowhere"], "No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(capsys, connection, arguments, message):
    assert main(["infer", *arguments, *connection]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_is_not_there_is_named(capsys, protocol):
    assert main(["infer", "m", "--text", "a", "--protocol", protocol, "--url", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "error: no server answers at 127.0.0.1:1\n"


def test_a_client_library_that_is_missing_is_named_with_the_command_that_installs_it(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("tritonclient.http", "geventhttpclient"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gevent", None)  # as Python marks a module that cannot be imported
    assert main(["infer", "m", "--text", "a", "--protocol", "http"]) == 1
    expected = 'error: --protocol http needs tritonclient[http]: pip install "slipway-serving[http]"\n'
    assert capsys.readouterr().err == expected


def test_the_help_of_a_model_names_what_it_takes(capsys, connection):
    assert main(["infer", "echo", "--help", *connection]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: slipway infer")
    assert printed.endswith("inputs of 'echo':\n  INPUT0 BYTES\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--text", "a"],
        ["--text=a"],
        ["--inputs", "{}"],
        ["--inputs={}"],
        ["--input-file", "x"],
        ["--input-file=x"],
        ["--request", "x"],
        ["--request=x"],
    ],
)
def test_the_help_of_a_model_is_printed_whatever_input_is_given(capsys, server, words):
    assert main(["infer", "echo", *words, "--help", "--url", server.grpc]) == 0
    assert capsys.readouterr().out.endswith("inputs of 'echo':\n  INPUT0 BYTES\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "a", "--params", "{}"], "argument --params: needs argument --request"),
        (["--text", "a", "-t"], "argument -t/--test-growth: needs argument --request"),
        (["--request", "x", "--output-file", "y"], "argument --output-file: not allowed with argument --request"),
        (["--request", "x", "--batch", "0"], "argument --batch: not allowed with argument --request"),
        (
            ["--inputs", "{}", "--batch", "3"],
            "argument --batch: not allowed with tensors, which are sent as one request",
        ),
        (
            ["--input-file", "x.json", "--batch", "3"],
            "argument --batch: not allowed with tensors, which are sent as one",
        ),
    ],
)
def test_an_option_without_effect_is_refused(capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        main(["infer", "echo", *words])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_an_input_that_is_repeated_is_refused(capsys, connection):
    assert main(["infer", "numbers", "--inputs", '{"INPUT0": [[1]], "INPUT0": [[2]]}', *connection]) == 1
    assert capsys.readouterr().err == "error: input 'INPUT0' is given twice\n"


def test_a_server_that_is_starting_is_waited_for(capsys, server, monkeypatch):
    waited = []
    monkeypatch.setattr(client, "await_listener", lambda address, seconds: waited.append((address.text, seconds)))
    for words, seconds in ([], 0), (["--wait", "2.5"], 2.5):
        assert main(["infer", "echo", "--text", "a", "--url", server.grpc, *words]) == 0
        assert waited.pop() == (server.grpc, seconds)
    assert not waited


def test_a_value_that_the_client_library_refuses_is_not_taken_for_another_kind_of_server(server):
    model = ModelDescription("numbers", {}, {}, 1)
    for protocol in ("grpc", "http"):
        with pytest.raises(ValueError, match="refused"):
            client.open_client(getattr(server, protocol), protocol)._call(refuse, model)


def refuse(_):
    raise ValueError("refused")


def test_the_help_of_a_model_without_a_server_is_the_usage_and_why(capsys):
    assert main(["infer", "echo", "--help", "--url", "localhost:9"]) == 0
    assert "inputs of 'echo' are unknown: no server answers at localhost:9" in capsys.readouterr().out


def test_a_text_goes_to_the_string_input_that_is_not_optional():
    description = ModelDescription("m", {"stop": "BYTES", "text": "BYTES"}, {}, 8, frozenset({"stop"}))
    assert description.text_input == "text"
