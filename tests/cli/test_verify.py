"""`slipway verify` on repositories with sound and broken models, and on running servers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tritonclient.grpc

from benchmarks.serving import running_server
from slipway.backends.shared.files import unreadable_graph
from slipway.cli.main import main
from slipway.problems import Problem, Rule
from slipway.verify.advice import Cause, Fault, advise
from tests.kits.repositories import (
    TinyClassifier,
    add_finbert,
    add_identity,
    add_masked_sum,
    add_python_identity,
    add_simple_net,
    write_config,
)

_TENSORS = """max_batch_size: {batch}
input [ {{ name: "INPUT0" data_type: TYPE_{datatype} dims: [ {dims} ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_{datatype} dims: [ {dims} ] }} ]
{extra}
"""


def add_python(repository: Path, name: str, body: str, *, extra: str = "", datatype: str = "FP32") -> Path:
    """Add a model in a thread of the server whose `execute` is `body`; return the model's directory."""
    tensors = _TENSORS.format(batch=4, datatype=datatype, dims="-1", extra=extra)
    thread = 'parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }\n'
    version = write_config(repository, name, f'backend: "python"\n{thread}{tensors}')
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    (version / "model.py").write_text(
        f"""import numpy as np
import triton_python_backend_utils as pb_utils


def answer(array):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", array)])


class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
{lines}"""
    )
    return version.parent


def verify(capsys, *arguments: object) -> tuple[int, dict[str, dict]]:
    """Run with --json; return the exit code and the verdicts by model."""
    code = main(["verify", *map(str, arguments), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] == (code == 0)
    return code, {each["model"]: each for each in document["models"]}


@pytest.mark.capability("3.21")
def test_every_model_of_a_repository_gets_a_line_with_pass_or_fail_and_the_reason(tmp_path, capsys):
    add_identity(tmp_path)
    add_masked_sum(tmp_path)
    write_config(tmp_path, "empty", 'backend: "onnxruntime"\n')
    assert main(["verify", "--repo", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    lines = {line.split()[1]: line for line in printed.splitlines() if "PASS" in line or "FAIL" in line}
    assert "| PASS " in lines["identity"]
    assert "OUTPUT0 FP32 [1,8]" in lines["identity"]
    assert "total FP32 [1,1]" in lines["masked_sum"]
    assert "| FAIL " in lines["empty"]
    assert "unable to find '1/model.onnx'" in printed
    assert "2 passed, 1 failed" in printed
    assert "'empty': A file is missing: it belongs in REPOSITORY/MODEL/VERSION/" in printed


def test_models_of_every_kind_pass(tmp_path, capsys):
    add_finbert(tmp_path, TinyClassifier())
    add_python_identity(tmp_path)
    for datatype in ("BOOL", "UINT8", "INT64", "FP16", "BF16", "FP64", "STRING"):
        add_identity(tmp_path, datatype.lower(), datatype=datatype)
    tensors = _TENSORS.format(batch=0, datatype="INT8", dims="2, -1", extra="")
    write_config(tmp_path, "unbatched", f'backend: "identity"\n{tensors}')
    decoupled = """for request, array in zip(requests, arrays):
    sender = request.get_response_sender()
    for _ in range(3):
        sender.send(answer(array))
    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)"""
    add_python(tmp_path, "decoupled", decoupled, extra="model_transaction_policy { decoupled: true }")
    code, verdicts = verify(capsys, tmp_path)
    assert (code, [each["reason"] for each in verdicts.values() if each["reason"]]) == (0, [])
    assert verdicts["finbert"]["answer"] == ["logits FP32 [1,3]"]
    assert verdicts["unbatched"]["answer"] == ["OUTPUT0 INT8 [2,8]"]
    assert verdicts["string"]["answer"] == ["OUTPUT0 BYTES [1,8]"]
    assert verdicts["decoupled"]["answer"] == ["OUTPUT0 FP32 [1,8]"]
    assert all(each["milliseconds"] > 0 and each["sent"] == "example" for each in verdicts.values())


FAULTS = {
    "nan": ("return [answer(array * np.nan) for array in arrays]", "contains NaN or infinity in 8 of 8 values"),
    "raises": ("raise ValueError('I will not')", "I will not"),
    "shape": (
        "return [answer(array[:, :, None]) for array in arrays]",
        "output 'OUTPUT0' is declared as [1, -1] for a batch of 1, but the response has [1, 8, 1]",
    ),
    "rows": ("return [answer(np.repeat(array, 2, 0)) for array in arrays]", "but the response has [2, 8]"),
    "dtype": ("return [answer(array.astype(np.int32)) for array in arrays]", "FP32"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_response_fails_its_model_and_no_other(tmp_path, capsys, fault):
    body, reason = FAULTS[fault]
    add_python(tmp_path, fault, body)
    add_identity(tmp_path)
    code, verdicts = verify(capsys, tmp_path)
    assert code == 1
    assert reason in verdicts[fault]["reason"]
    assert verdicts[fault]["advice"]
    assert verdicts["identity"]["passed"]


def test_a_model_that_answers_another_shape_than_it_declares_fails(tmp_path, capsys):
    add_simple_net(tmp_path)
    code, verdicts = verify(capsys, tmp_path)
    assert code == 1
    assert verdicts["simple_net"]["reason"] == "output 'output' is declared as [1], but the response has [2]"
    assert "disagree on a shape" in verdicts["simple_net"]["advice"]


def test_a_model_that_does_not_load_gets_advice_for_its_cause(tmp_path, capsys):
    add_masked_sum(tmp_path)
    config = tmp_path / "masked_sum/config.pbtxt"
    config.write_text(config.read_text().replace("TYPE_INT64", "TYPE_INT32"))
    add_python(tmp_path, "imports", "return []")
    script = tmp_path / "imports/1/model.py"
    script.write_text("import nowhere_to_be_found\n" + script.read_text())
    tensors = _TENSORS.format(batch=0, datatype="FP32", dims=1, extra="")
    write_config(tmp_path, "misspelt", f'backend: "onnxruntmie"\n{tensors}')
    write_config(tmp_path, "unparsed", "max_batch_size 8 8\n")
    write_config(
        tmp_path,
        "whole",
        """platform: "ensemble"
max_batch_size: 4
input [ { name: "i" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "o" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { step [ { model_name: "imports" model_version: -1
  input_map { key: "INPUT0" value: "i" } output_map { key: "OUTPUT0" value: "o" } } ] }
""",
    )
    code, verdicts = verify(capsys, tmp_path)
    assert code == 1
    assert not any(each["passed"] for each in verdicts.values())
    advice = {name: each["advice"] for name, each in verdicts.items()}
    assert "disagree on a datatype" in advice["masked_sum"]
    assert "model.py imports 'nowhere_to_be_found'" in advice["imports"]
    assert "is misspelt or not available" in advice["misspelt"]
    assert "slipway check" in advice["unparsed"]
    assert "fix that one first" in advice["whole"]


def test_a_backend_without_its_library_gets_the_pip_command(tmp_path, capsys, monkeypatch):
    add_simple_net(tmp_path)
    monkeypatch.setattr("slipway.backends.registry.find_spec", lambda _: None)
    code, verdicts = verify(capsys, tmp_path)
    assert code == 1
    assert 'pip install "slipway-serving[torch]"' in verdicts["simple_net"]["reason"]
    assert "library 'torch' is missing" in verdicts["simple_net"]["advice"]


PICKY = """for array in arrays:
    if array.ravel()[0] != b"magic":
        raise ValueError("that is no magic word")
return [answer(array) for array in arrays]"""
WARMUP = """model_warmup [ { name: "word" batch_size: 2 inputs {
  key: "INPUT0" value { data_type: TYPE_STRING dims: [ 1 ] input_data_file: "words" } } } ]"""


def add_picky(repository: Path) -> None:
    """Add a model that accepts only the word in its warm-up file."""
    directory = add_python(repository, "picky", PICKY, extra=WARMUP, datatype="STRING")
    (directory / "warmup").mkdir()
    (directory / "warmup/words").write_bytes(b"\x05\0\0\0magic")


def test_a_warm_up_sample_is_sent_instead_of_an_example(tmp_path, capsys):
    add_picky(tmp_path)
    code, verdicts = verify(capsys, tmp_path)
    assert code == 0
    assert verdicts["picky"]["sent"] == "warm-up sample 'word'"
    assert verdicts["picky"]["answer"] == ["OUTPUT0 BYTES [1,1]"]


@pytest.mark.parametrize("kind", ["zero_data", "random_data"])
@pytest.mark.parametrize("datatype", ["STRING", "INT32", "BOOL", "BF16"])
def test_warm_up_samples_without_files_are_made_as_the_server_makes_them(tmp_path, capsys, kind, datatype):
    sample = f'inputs {{ key: "INPUT0" value {{ data_type: TYPE_{datatype} dims: [ 3 ] {kind}: true }} }}'
    extra = f'model_warmup [ {{ name: "w" batch_size: 2 {sample} }} ]'
    tensors = _TENSORS.format(batch=4, datatype=datatype, dims="-1", extra=extra)
    write_config(tmp_path, "m", f'backend: "identity"\n{tensors}')
    code, verdicts = verify(capsys, tmp_path)
    assert (code, verdicts["m"]["sent"]) == (0, "warm-up sample 'w'")


def test_named_models_alone_are_loaded_and_asked(tmp_path, capsys):
    add_identity(tmp_path, "a")
    add_identity(tmp_path, "b")
    write_config(tmp_path, "broken", 'backend: "onnxruntime"\n')
    code, verdicts = verify(capsys, tmp_path, "--model", "b")
    assert (code, list(verdicts)) == (0, ["b"])
    code, verdicts = verify(capsys, tmp_path, "--model", "b", "--model", "c")
    assert (code, list(verdicts)) == (1, ["b", "c"])
    assert "not found" in verdicts["c"]["reason"]


def test_every_version_has_its_own_line(tmp_path, capsys):
    add_masked_sum(tmp_path)
    config = tmp_path / "masked_sum/config.pbtxt"
    config.write_text(config.read_text() + "version_policy { all {} }\n")
    (tmp_path / "masked_sum/2").mkdir()
    shutil.copy(tmp_path / "masked_sum/1/model.onnx", tmp_path / "masked_sum/2")
    assert main(["verify", str(tmp_path), "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [(each["version"], each["passed"]) for each in models] == [("1", True), ("2", True)]


# A running server


def test_a_running_server_is_asked_for_what_it_serves_and_failed_to_load(tmp_path, capsys):
    add_identity(tmp_path)
    add_picky(tmp_path)
    write_config(tmp_path, "broken", 'backend: "onnxruntime"\n')
    with running_server(tmp_path, "--exit-on-error=false", "--strict-readiness=false") as server:
        code, verdicts = verify(capsys, "--url", server.grpc)
        assert code == 1
        assert {name: each["passed"] for name, each in verdicts.items()} == {
            "broken": False,
            "identity": True,
            "picky": False,  # its warm-up file is out of reach
        }
        assert "no magic word" in verdicts["picky"]["reason"]
        assert "model_warmup" in verdicts["picky"]["advice"]
        code, verdicts = verify(capsys, "--url", server.grpc, "--repo", tmp_path, "--model", "picky")
        assert code == 0
        code, verdicts = verify(capsys, "--url", server.grpc, "--model", "nobody")
        assert (code, verdicts["nobody"]["reason"]) == (1, "no model of this name is loaded on the server")
        assert server.stop() == 0


def test_a_model_that_was_unloaded_on_request_is_not_a_failure(tmp_path, capsys):
    add_identity(tmp_path, "a")
    add_identity(tmp_path, "b")
    with running_server(tmp_path, "--model-control-mode=explicit", "--load-model=*") as server:
        with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            client.unload_model("a")
            while client.is_model_ready("a"):
                pass
        code, verdicts = verify(capsys, "--url", server.grpc, "--model", "b")
        assert (code, list(verdicts)) == (0, ["b"])


def test_a_server_that_is_not_there_is_an_error_with_advice(capsys):
    assert main(["verify", "--url", "127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: no server answers at 127.0.0.1:1 (")
    assert "Start the server with `slipway serve REPOSITORY`" in error
    assert error.count("\n") == 1


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "specify a REPOSITORY, or the --url of a running server"),
        (["a", "--url", "b:1"], "REPOSITORY cannot be combined with --repo or --url"),
        (["a", "--repo", "b"], "REPOSITORY cannot be combined with --repo or --url"),
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(["verify", *arguments])
    assert caught.value.code == 1
    assert message in capsys.readouterr().err


def test_an_empty_or_missing_repository_is_an_error(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 1
    assert "no models to verify" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "no")]) == 1
    assert "is not a directory; specify a model repository" in capsys.readouterr().err


def test_verification_loads_no_library_that_no_model_needs(tmp_path):
    add_identity(tmp_path)
    code = "import sys; from slipway.cli.main import main; code = main(['verify', sys.argv[1]]); "
    code += "sys.exit(code or int('torch' in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("Unavailable: backend 'tensorrt' needs an NVIDIA GPU", "--engine openvino"),
        ("Attempting to deserialize object on a CUDA device", "map_location='cpu'"),
        ("std::bad_alloc", "lower instance_group count"),
        ("the process of the model ended while it was loading: exit code -9", "ran out of memory"),
        ("model 'm', tensor 'x': for the model to support batching the shape should have", "max_batch_size: 0"),
        ("indices element out of data bounds, idx=8 must be within the inclusive range [-2,1]", "model_warmup"),
        ("Deadline Exceeded", "--timeout allows more time"),
        ("Address already in use", "--grpc-port 0 picks a free port"),
        ("something that nobody has seen before", "slipway check REPOSITORY"),
    ],
)
def test_usual_causes_have_their_advice(reason, advice):
    assert advice in advise(reason)


@pytest.mark.parametrize(
    ("known", "advice"),
    [
        (Problem(Rule.BACKEND_NOT_INSTALLED, "", subject="torch"), "library 'torch' is missing"),
        (Problem(Rule.FILE_MISSING, ""), "A file is missing"),
        (Problem(Rule.DIMS_INVALID, ""), "shows the line and the fix"),
        (Problem(Rule.GRAPH_UNREADABLE, ""), "damaged or incomplete"),  # the library's words say why
        (Fault(Cause.NOT_FINITE, ""), "NaN comes from weights"),
        (Fault(Cause.TIMED_OUT, ""), "--timeout allows more time"),
        (Fault(Cause.SILENT, ""), "looks for mistakes"),
    ],
)
def test_a_known_cause_gets_its_advice_regardless_of_the_text(known, advice):
    assert advice in advise("Load model from shape.onnx failed: Protobuf parsing failed", [known])


def test_what_a_model_prints_stays_out_of_the_document(tmp_path):
    add_python(tmp_path, "loud", 'print("a word of its own", flush=True)\nreturn [answer(array) for array in arrays]')
    command = [sys.executable, "-m", "slipway", "verify", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["passed"]


def test_an_invalid_model_file_and_an_unknown_name_get_their_own_advice(tmp_path, capsys):
    add_identity(tmp_path)
    (write_config(tmp_path, "cut", 'backend: "onnxruntime"\n') / "model.onnx").write_bytes(b"")
    _, verdicts = verify(capsys, tmp_path)
    assert "damaged or incomplete" in verdicts["cut"]["advice"]
    _, verdicts = verify(capsys, tmp_path, "--model", "nobody")
    assert "no model of that name" in verdicts["nobody"]["advice"]


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "inf"])
def test_an_invalid_time_limit_is_refused(tmp_path, capsys, seconds):
    with pytest.raises(SystemExit):
        main(["verify", str(tmp_path), f"--timeout={seconds}"])
    assert "above 0" in capsys.readouterr().err


def test_an_address_may_be_written_as_a_url(tmp_path, capsys):
    add_identity(tmp_path)
    with running_server(tmp_path) as server:
        code, _ = verify(capsys, "--url", f"http://{server.grpc}/")
    assert code == 0


def test_an_ensemble_of_too_many_rows_gets_the_command_that_fixes_it():
    reason = (
        "ensemble e allows maximum batch size 16, but it contains model m which only allows maximum batch size to be 8"
    )
    assert "check REPOSITORY --fix" in advise(reason)


def test_a_file_that_is_too_new_is_not_to_be_copied_again():
    error = unreadable_graph("Load model from m.onnx failed: Unsupported model IR version: 99")
    advice = advise("Load model from m.onnx failed", error.problems)
    assert advice == "Upgrade onnxruntime, or export for an older opset."
