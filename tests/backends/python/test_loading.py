"""From model.py to a model that serves, and to its end: import, completion, initialize, is_ready, finalize."""

from __future__ import annotations

import asyncio
import sys

import pytest

from slipway.backends.python.completion import may_define_hook
from slipway.backends.python.process.server_link import ChildProcess
from slipway.errors import SlipwayError
from tests.backends.python.engine_kit import (
    TEXT_IO,
    both_modes,
    infer_text,
    methods,
    served,
    serving,
    write_model,
)

EXECUTE = """
    def execute(self, requests):
        return [reply(*self.told()) for _ in requests]
"""


def failure(repository, name, **options):
    """Return why a model does not load."""

    async def scenario():
        async with serving(repository, **options) as engine:
            return engine.failed[name].error(name).message

    return asyncio.run(scenario())


@both_modes
def test_models_keep_helpers_of_equal_names_apart(tmp_path, mode):
    source = methods(
        EXECUTE
        + """
    def told(self):
        import helper as late
        from package.inside import VALUE
        from .beside import RELATIVE
        return [helper.NAME, late.NAME, VALUE, RELATIVE, late is helper]
    """
    )
    for name in ("one", "two"):
        directory = write_model(tmp_path, name, "import helper\n" + source, mode=mode)
        (directory / "helper.py").write_text("from shared_names import NAME as BASE\nNAME = BASE + ' helper'")
        (directory / "beside.py").write_text(f"RELATIVE = 'beside {name}'")
        (directory.parent / "shared_names.py").write_text(f"NAME = {name!r}")  # in the model's own directory
        (directory / "package").mkdir()
        (directory / "package" / "__init__.py").touch()
        (directory / "package" / "inside.py").write_text("import helper\nVALUE = 'inside ' + helper.NAME")

    async def scenario(engine):
        for name in ("one", "two"):
            expected = [f"{name} helper", f"{name} helper", f"inside {name} helper", f"beside {name}", "True"]
            assert await infer_text(engine, name, "x") == expected

    served(tmp_path, scenario)


@both_modes
def test_each_instance_has_a_model_of_its_own(tmp_path, mode):
    source = methods(
        """
    def initialize(self, args):
        self.name = args["model_instance_name"]

    def told(self):
        time.sleep(0.05)  # so that another instance takes the next request
        return [self.name]
    """
        + EXECUTE
    )
    write_model(tmp_path, "m", source, mode=mode, config="instance_group { count: 2 kind: KIND_CPU }")

    async def scenario(engine):
        answers = await asyncio.gather(*(infer_text(engine, "m", "x") for _ in range(6)))
        assert {name for [name] in answers} == {"m_0_0", "m_0_1"}

    served(tmp_path, scenario)


@both_modes
@pytest.mark.parametrize(
    ("source", "told"),
    {
        methods(
            "def initialize(self, args): raise ValueError('no weights')"
        ): "ValueError: no weights\n\nAt:\n  1/model.py(",
        "import not_installed": "ModuleNotFoundError: No module named 'not_installed'",
        "def": "SyntaxError: invalid syntax",
        "x = 1": "AttributeError: module",
        "import sys; sys.exit(3)": "SystemExit: 3",
        methods("def finalize(self): pass"): "Python model 'm' does not implement `execute` method.",
        methods("def initialize(self, args): ask('m').exec()"): "TritonModelException: BLS is only supported during "
        "the 'execute' function.",
    }.items(),
    ids=range(7),
)
def test_a_model_that_cannot_start_says_why_without_paths_of_the_server(tmp_path, mode, source, told):
    write_model(tmp_path, "m", source, mode=mode)
    message = failure(tmp_path, "m")
    assert told in message
    assert str(tmp_path) not in message


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux a descriptor shows that a process has ended")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('no weights')", "ValueError: no weights"),
        ("threading.Timer(0.2, os._exit, [7]).start()", "process of the model ended while it was loading: exit code 7"),
    ],
)
def test_a_process_whose_report_and_end_are_noticed_together_is_not_started_again(
    tmp_path, monkeypatch, source, reason
):
    """As on a busy machine: the loop hears of both in one turn."""
    started = []

    def counted(self, environment, start=ChildProcess.start):
        started.append(self)
        start(self, environment)

    monkeypatch.setattr(ChildProcess, "_readable", lambda _: None)
    monkeypatch.setattr(ChildProcess, "start", counted)
    write_model(tmp_path, "m", methods(f"def initialize(self, args): {source}" + EXECUTE.replace("\n    ", "\n")))
    assert reason in failure(tmp_path, "m")
    assert len(started) == 1
    assert started[0]._process.poll() is not None


@both_modes
def test_a_model_without_its_file_says_so(tmp_path, mode):
    (write_model(tmp_path, "m", "", mode=mode) / "model.py").unlink()
    assert "Failed to preinitialize Python stub: Python model file not found in '" in failure(tmp_path, "m")


@both_modes
def test_the_configuration_may_name_another_file(tmp_path, mode):
    directory = write_model(
        tmp_path,
        "m",
        methods("def told(self): return ['other file']" + EXECUTE.replace("\n    ", "\n")),
        mode=mode,
        config='default_model_filename: "serve.py"',
    )
    (directory / "model.py").rename(directory / "serve.py")

    async def scenario(engine):
        assert await infer_text(engine, "m", "x") == ["other file"]

    served(tmp_path, scenario)


@both_modes
def test_finalize_is_called_once_and_its_exception_only_logged(tmp_path, mode, caplog):
    source = methods("""
    def finalize(self):
        with open(os.path.join(pb_utils.get_model_dir(), "finalized"), "a") as file: file.write("once")
        raise ValueError("too late")

    def execute(self, requests): return [reply("x") for _ in requests]
    """)
    directory = write_model(tmp_path, "m", source, mode=mode)

    async def scenario(engine):
        assert await infer_text(engine, "m", "x") == ["x"]

    served(tmp_path, scenario)
    assert (directory / "finalized").read_text() == "once"
    assert "finalize of model instance 'm_0' failed" in caplog.text


@both_modes
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_model_says_whether_it_is_ready(tmp_path, mode, kind):
    source = methods(f"""
    def initialize(self, args):
        self.state = "ready"

    {kind} is_ready(self):
        if self.state == "raise": raise ValueError("broken")
        return self.state == "ready"

    def execute(self, requests):
        self.state = text(requests[0])
        return [reply("x")]
    """)
    write_model(tmp_path, "m", source, mode=mode)

    async def scenario(engine):
        for state in ("ready", "not ready", "ready", "raise", "ready"):
            await infer_text(engine, "m", state)
            assert await engine.model_ready("m", "") == (state == "ready")
        [instance] = engine._serving.find("m", "").instances
        await infer_text(engine, "m", "no")
        with pytest.raises(SlipwayError) as caught:
            await instance.check_ready()
        assert caught.value.message == "Model 'm' is not ready (user-defined check failed)."

    served(tmp_path, scenario)


COMPLETING = """
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        print("a model may print")
{body}
        return config

    def execute(self, requests):
        return [reply("x") for _ in requests]
"""
INPUT = '{"name": "IN", "data_type": "TYPE_STRING", "dims": [-1]}'
OUTPUT = '{"name": "OUT", "data_type": "TYPE_STRING", "dims": [-1]}'


def completing(repository, *lines, io="", **options):
    body = "".join(f"        {line}\n" for line in lines)
    return write_model(repository, "m", COMPLETING.format(body=body), io=io, **options)


@both_modes
def test_a_model_completes_its_configuration(tmp_path, mode):
    completing(
        tmp_path,
        f"config.add_input({INPUT})",
        f"config.add_output({OUTPUT})",
        'config.add_input({"name": "MORE", "data_type": "TYPE_FP32", "dims": [2], "optional": True})',
        "config.set_max_batch_size(4)",
        "config.set_dynamic_batching()",
        'config.set_model_transaction_policy({"decoupled": False})',
        mode=mode,
    )

    async def scenario(engine):
        config = engine.model_config("m", "")
        assert [(each.name, list(each.dims), each.optional) for each in config.input] == [
            ("IN", [-1], False),
            ("MORE", [2], True),
        ]
        assert [each.name for each in config.output] == ["OUT"]
        assert config.max_batch_size == 4
        assert config.HasField("dynamic_batching")

    served(tmp_path, scenario)


def test_a_completed_configuration_keeps_what_was_written(tmp_path):
    completing(tmp_path, f"config.add_input({INPUT})", f"config.add_output({OUTPUT})", io=TEXT_IO, mode="thread")

    async def scenario(engine):
        config = engine.model_config("m", "")
        assert [each.name for each in config.input] == ["IN"]
        assert config.parameters["EXECUTION_MODE"].string_value == "thread"

    served(tmp_path, scenario)


def test_nothing_is_completed_if_the_server_disables_it(tmp_path):
    completing(tmp_path, "raise ValueError", io=TEXT_IO, mode="thread")

    async def scenario(engine):
        assert await infer_text(engine, "m", "x") == ["x"]

    served(tmp_path, scenario, disable_auto_complete_config=True)


def test_a_hook_that_hangs_fails_the_load_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("slipway.backends.python.completion.LIMIT_SECONDS", 1)
    completing(tmp_path, "import time; time.sleep(600)")
    assert "auto_complete_config of model 'm' did not return within 1 s" in failure(tmp_path, "m")


def test_a_configuration_larger_than_a_pipe_is_completed(tmp_path):
    lines = [
        "for index in range(2000):",
        "    config.add_output({'name': f'OUT{index}', 'data_type': 'TYPE_STRING', 'dims': [-1]})",
    ]
    completing(tmp_path, *lines, io=TEXT_IO)
    served(tmp_path, lambda _: asyncio.sleep(0))


@pytest.mark.parametrize(
    ("line", "message"),
    {
        "return None": "auto_complete_config function in model 'm' must return a valid pb.ModelConfig object.",
        "raise ValueError('why')": "ValueError: why\n\nAt:\n  1/model.py(",
        'config.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [-1]})': "unable to load model 'm', "
        "configuration expects datatype TYPE_STRING for input 'IN', model provides TYPE_FP32",
        'config.add_input({"name": "IN", "data_type": "TYPE_STRING", "dims": [3]})': "model 'm', tensor 'IN': the "
        "model expects dims [3] but the model configuration specifies dims [-1]",
        'config.add_output({"name": "NEW", "dims": [3]})': "output 'NEW' in auto-complete-config function for model "
        "'m' is missing 'data_type' property.",
        'config.add_input({"data_type": "TYPE_FP32", "dims": [3]})': "input in auto-complete-config function for "
        "model 'm' is missing 'name' property.",
        'config.add_output({"name": "NEW", "x": 1})': "output 'NEW' in auto-complete-config function for model 'm' "
        "contains property other than 'name', 'data_type' and 'dims'.",
        "config.set_max_batch_size(1)": "configuration specified max_batch_size 2, but in auto-complete-config "
        "function for model 'm' specified max_batch_size 1",
        'config.set_model_transaction_policy({"x": 1})': "model transaction property in auto-complete-config "
        "function for model 'm' contains property other than 'decoupled'.",
        "import os; os._exit(7)": "Failed to initialize Python stub for auto-complete: the process exited with code",
        "pb_utils.load_model('x')": "TritonModelException: ",
    }.items(),
)
def test_a_contradiction_is_refused_in_tritons_words(tmp_path, line, message):
    completing(tmp_path, line, io=TEXT_IO, batch=2, mode="thread")
    assert message in failure(tmp_path, "m")


def test_a_policy_that_is_written_cannot_be_changed(tmp_path):
    completing(
        tmp_path,
        'config.set_model_transaction_policy({"decoupled": True})',
        io=TEXT_IO,
        mode="thread",
        config="model_transaction_policy { decoupled: false }",
    )
    message = (
        "trying to change decoupled property in auto-complete-config for model 'm', which is already set to 'False'."
    )
    assert message in failure(tmp_path, "m")


@both_modes
@pytest.mark.parametrize("name", ["served", "json"])  # a backend may be called like a package that is installed
def test_a_python_based_backend_serves_models_that_name_it(tmp_path, mode, name):
    (tmp_path / "models").mkdir()
    directory = tmp_path / "backends" / name
    directory.mkdir(parents=True)
    written = write_model(
        tmp_path / "models",
        "m",
        methods("def told(self): return [beside.NAME, pb_utils.get_model_dir()]" + EXECUTE.replace("\n    ", "\n")),
        mode=mode,
    )
    (directory / "model.py").write_text("import beside\n" + (written / "model.py").read_text())
    (directory / "beside.py").write_text("NAME = 'beside'")
    (written / "model.py").unlink()
    config = written.parent / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "python"', f'backend: "{name}"'))

    async def scenario(engine):
        assert await infer_text(engine, "m", "x") == ["beside", str(written)]

    served(tmp_path / "models", scenario, backend_directory=(tmp_path / "backends",))


def test_an_unknown_execution_mode_is_refused(tmp_path):
    directory = write_model(tmp_path, "m", methods("def execute(self, requests): pass"), mode="thread")
    config = directory.parent / "config.pbtxt"
    config.write_text(config.read_text().replace('"thread"', '"fiber"'))
    assert "EXECUTION_MODE is 'fiber', expected 'process' or 'thread'" in failure(tmp_path, "m")


def test_a_ready_check_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("slipway.backends.python.model._READY_TIMEOUT_S", 0.01)
    source = methods("""
    def initialize(self, args): self.released = threading.Event()
    def is_ready(self): return self.released.wait()
    def finalize(self): self.released.set()
    def execute(self, requests): return [reply("x") for _ in requests]
    """)
    write_model(tmp_path, "m", source, mode="thread")

    async def scenario(engine):
        [instance] = engine._serving.find("m", "").instances
        with pytest.raises(SlipwayError) as caught:
            await instance.check_ready()
        assert caught.value.message == "Timed out waiting for user-defined is_ready() response"
        assert await infer_text(engine, "m", "x") == ["x"]

    served(tmp_path, scenario)


def test_a_process_has_the_command_line_and_the_import_path_of_tritons_stub(tmp_path, monkeypatch):
    """Models parse arguments without being given any, and import what lies where the server was started."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "beside_the_server.py").write_text("VALUE = 'from the working directory'")
    (tmp_path / "here" / "numpy.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path / "here")
    source = methods(
        EXECUTE
        + """
    def told(self):
        import argparse, sys, beside_the_server
        return [argparse.ArgumentParser().parse_args(), sys.argv, beside_the_server.VALUE]
    """
    )
    write_model(tmp_path / "models", "m", source, mode="process")

    async def scenario():
        async with serving(tmp_path / "models") as engine:
            assert await infer_text(engine, "m", "x") == ["Namespace()", "['']", "from the working directory"]

    asyncio.run(scenario())


def test_a_parser_that_another_thread_disturbed_leaves_the_question_to_the_child(monkeypatch):
    source = b"class TritonPythonModel:\n    pass\n"
    assert not may_define_hook(source)

    def disturbed(_):
        raise SystemError("AST constructor recursion depth mismatch (before=30, after=21)")

    monkeypatch.setattr("slipway.backends.python.completion.ast.parse", disturbed)
    assert may_define_hook(source)
