"""What the linter looks at: whole repositories, single models, good ones and bad ones side by side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.errors import Code, SlipwayError, invalid
from slipway.lint.check import check_repository
from slipway.lint.finding import Severity
from slipway.lint.model import Model
from slipway.lint.reading import refusal_findings
from slipway.machine import Machine
from tests.kits.lint_cases import (
    BATCHES,
    IO,
    ONNX,
    THROUGH_A,
    VARIABLE,
    chain,
    ensemble,
    lengths,
    model,
    onnx_model,
    python_model,
    wrap,
)
from tests.kits.torch_modules import SimpleNet, script

MACHINE = Machine(cpus=4, gpus=0)


def rules(repository, machine=MACHINE):
    return [finding.rule for finding in check_repository(repository, machine).findings]


def test_a_good_repository_has_no_findings(tmp_path):
    chain(tmp_path)
    onnx_model(tmp_path)
    onnx_model(tmp_path, None, name="without_config")
    assert rules(tmp_path) == []


def test_one_bad_model_hides_nothing_of_the_others(tmp_path):
    model(tmp_path, "max_batch_size: }", name="a")
    model(tmp_path, BATCHES.replace("identity", "nobody"), name="b")
    onnx_model(tmp_path, ONNX.replace('"x"', '"z"'), name="c")
    assert rules(tmp_path) == ["syntax-error", "backend-unknown", "tensor-not-in-graph"]


def test_a_single_models_directory_is_checked_alone(tmp_path):
    onnx_model(tmp_path, ONNX.replace('"x"', '"z"'))
    model(tmp_path, "nonsense", name="other")
    report = check_repository(tmp_path / "m", MACHINE)
    assert (report.models, [finding.rule for finding in report.findings]) == (("m",), ["tensor-not-in-graph"])
    assert report.findings[0].file == tmp_path / "m" / "config.pbtxt"


def test_a_single_ensemble_is_checked_against_its_neighbours(tmp_path):
    chain(tmp_path, BATCHES.replace("8", "4"))
    assert rules(tmp_path / "e") == ["ensemble-batch-size"]


def test_a_single_model_without_a_config_is_a_model_too(tmp_path):
    onnx_model(tmp_path, None)
    assert check_repository(tmp_path / "m", MACHINE).models == ("m",)


def test_an_ensemble_is_not_compared_with_a_model_that_cannot_be_read(tmp_path):
    wrap(tmp_path, THROUGH_A.replace("between", "OUTPUT0"))
    model(tmp_path, "nonsense", name="a")
    assert rules(tmp_path) == ["unknown-field"]


def test_a_missing_model_gets_the_nearest_name(tmp_path):
    model(tmp_path, BATCHES, name="finbert_model")
    ensemble(tmp_path, THROUGH_A.replace('"a"', '"finbert-model"').replace("between", "OUTPUT0"))
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert (finding.rule, finding.fix) == ("step-model-missing", "write finbert_model instead of finbert-model")


def test_an_ensemble_may_have_an_empty_version_directory(tmp_path):
    chain(tmp_path)
    assert list((tmp_path / "e" / "1").iterdir()) == []
    assert rules(tmp_path) == []


def test_words_for_gpus_are_fine_where_there_is_one(tmp_path):
    model(tmp_path, BATCHES + "instance_group [ { kind: KIND_GPU } ]")
    assert rules(tmp_path) == ["gpu-on-cpu-host"]
    assert rules(tmp_path, Machine(cpus=4, gpus=1)) == []


def test_a_tensorrt_plan_on_a_host_without_gpu_is_a_warning_that_names_the_alternative(tmp_path):
    (model(tmp_path, f'backend: "tensorrt"\n{IO}') / "1" / "model.plan").write_bytes(b"plan")
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert (finding.rule, finding.severity) == ("gpu-on-cpu-host", Severity.WARNING)
    assert "onnxruntime" in finding.fix


def test_a_python_model_with_one_instance_on_many_cores_is_fine(tmp_path):
    python_model(tmp_path, "class TritonPythonModel: ...", f'backend: "python"\n{IO}')
    assert rules(tmp_path, Machine(cpus=64, gpus=0)) == []


def test_a_graph_that_takes_an_input_the_tokenizer_does_not_know_says_so(tmp_path):
    onnx_model(tmp_path, ONNX.replace('"x"', '"token_type_ids"'))
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert finding.rule == "tokenizer-input-unknown"
    assert finding.fix.startswith("remove token_type_ids here and from the input_map")


def test_the_arguments_of_a_torchscript_module_are_checked_against_the_inputs(tmp_path):
    two = IO.replace("} ]\n", '}, { name: "INPUT1" data_type: TYPE_FP32 dims: [ 4 ] } ]\n', 1)
    directory = model(tmp_path, f'backend: "pytorch"\n{two}')
    script(directory, SimpleNet())
    assert rules(tmp_path) == ["input-count"]


def test_a_library_that_is_not_installed_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("slipway.backends.registry.find_spec", lambda _: None)
    onnx_model(tmp_path)
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert (finding.rule, finding.severity) == ("backend-not-installed", Severity.WARNING)


def test_a_directory_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(SlipwayError) as caught:
        check_repository(tmp_path / "nowhere", MACHINE)
    assert caught.value.code is Code.NOT_FOUND


def test_an_openvino_model_is_checked_against_its_config_by_any_of_its_names(tmp_path):
    openvino = pytest.importorskip("openvino")
    config = ONNX.replace("onnxruntime", "openvino")
    for name, text in (
        ("good", config),
        ("alias", config.replace('"x"', '"also"')),
        ("bad", config.replace('"y"', '"z"')),
    ):
        directory = onnx_model(tmp_path, text, name=name)
        graph = openvino.convert_model(directory / "1" / "model.onnx")
        (directory / "1" / "model.onnx").unlink()
        graph.inputs[0].get_tensor().set_names({"x", "also"})
        openvino.save_model(graph, directory / "1" / "model.xml")
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert (finding.model, finding.rule, finding.line) == ("bad", "tensor-not-in-graph", 5)


def test_a_text_that_no_rule_knows_is_an_error_all_the_same():
    error = invalid("the moon is in the wrong phase for m")
    [found] = refusal_findings(Model("m", Path("m"), Path("m/config.pbtxt")), error)
    assert (found.severity, found.rule, found.message) == (
        Severity.ERROR,
        "config-invalid",
        "the moon is in the wrong phase for m",
    )
    assert found.fix


def test_a_parameter_that_the_backend_cannot_use_is_found_at_its_value(tmp_path):
    openvino = pytest.importorskip("openvino")
    parameter = 'parameters {\n  key: "SKIP_OV_DYNAMIC_BATCHSIZE"\n  value { string_value: "maybe" }\n}\n'
    directory = onnx_model(tmp_path, ONNX.replace("onnxruntime", "openvino") + parameter)
    openvino.save_model(openvino.convert_model(directory / "1" / "model.onnx"), directory / "1" / "model.xml")
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert (finding.rule, finding.line) == ("parameter-invalid", 8)
    assert "failed to convert 'maybe' to boolean" in finding.message


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (ONNX.replace("TYPE_FP32", "99", 1), 4),
        (ONNX + "instance_group [ { kind: 77 } ]\n", 6),
    ],
)
def test_a_number_that_is_no_value_of_its_enum_is_found_before_rules_ask_for_its_name(tmp_path, config, line):
    onnx_model(tmp_path, config)
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert (finding.rule, finding.line) == ("unknown-value", line)


def test_several_groups_get_a_limit_for_the_sum_of_their_counts(tmp_path):
    onnx_model(tmp_path, ONNX + "instance_group [ { count: 4 }, { count: 8 } ]\n")
    [finding] = check_repository(tmp_path, MACHINE).findings
    assert finding.fix == "use counts that add up to 4, or fewer threads for each instance"


def test_outputs_whose_variable_dims_are_trimmed_are_fine(tmp_path):
    trim = 'parameters { key: "LENGTH_BATCHING_TRIM_OUTPUTS" value { string_value: "OUTPUT0.0=INPUT0.0" } }\n'
    model(tmp_path, f"{VARIABLE}{lengths('INPUT0=0')}\n{trim}")
    assert rules(tmp_path) == []


LABELLED = 'backend: "identity"\nmax_batch_size: 8\n' + IO[:-4] + 'label_filename: "labels.txt" } ]\n'


def test_a_label_file_that_a_link_leads_out_to_is_not_read(tmp_path):
    (model(tmp_path, LABELLED) / "labels.txt").symlink_to("/dev/zero")
    assert rules(tmp_path) == ["file-endless"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_is_refused_as_label_file_and_as_model_file(tmp_path):
    os.mkfifo(model(tmp_path, LABELLED, name="a") / "labels.txt")
    os.mkfifo(model(tmp_path, ONNX, name="b") / "1" / "model.onnx")
    assert rules(tmp_path) == ["file-endless", "file-endless"]


def test_a_file_that_may_not_be_read_hides_nothing_of_the_other_models(tmp_path):
    """Runs in a separate process, without root's right to read everything."""
    onnx_model(tmp_path, ONNX.replace('"x"', '"z"'), name="a")
    (model(tmp_path, name="b") / "config.pbtxt").chmod(0)
    (onnx_model(tmp_path, name="c") / "1").chmod(0)
    document = json.loads(_as_a_plain_user("check", str(tmp_path), "--json"))
    (tmp_path / "c" / "1").chmod(0o700)
    found = [(finding["rule"], finding["file"]) for finding in document["findings"]]
    assert found == [
        ("tensor-not-in-graph", f"{tmp_path}/a/config.pbtxt"),
        ("file-unreadable", f"{tmp_path}/b/config.pbtxt"),
        ("file-unreadable", f"{tmp_path}/c/1/model.onnx"),
    ]


def _as_a_plain_user(*words):
    drop = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and there is no setpriv to give that up with")
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    done = subprocess.run([*drop, sys.executable, "-m", "slipway", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return done.stdout
