"""A model with EXECUTION_ENV_PATH runs in that environment, or its load says why it cannot."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys

import pytest
from tritonclient.grpc import model_config_pb2

from slipway.backends.python.environments.environment import open_environment
from slipway.backends.python.environments.store import EnvironmentStore
from slipway.errors import SlipwayError
from tests.backends.python.engine_kit import infer_text, methods, served, serving, write_model
from tests.backends.python.environments.archives import make_environment, member, pack, write_archive

PATH = 'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{}" }} }}'
REPORTING = methods("""
    @staticmethod
    def auto_complete_config(config):
        import only_there
        config.add_output({"name": only_there.NAME, "data_type": "TYPE_FP32", "dims": [1]})
        return config

    def execute(self, requests):
        import only_there
        values = (only_there.NAME, sys.prefix, os.environ["VIRTUAL_ENV"], os.environ["PATH"].split(":")[0])
        return [reply(*map(str, values))] * len(requests)
""")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return make_environment(tmp_path_factory.mktemp("made") / "env", only_there="NAME = 'FOUND'\n")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "environments"


def config_of(path):
    config = model_config_pb2.ModelConfig(name="m")
    config.parameters["EXECUTION_ENV_PATH"].string_value = str(path)
    return config


def problem(path, directory):
    with pytest.raises(SlipwayError) as caught:
        open_environment(config_of(path), directory, EnvironmentStore(directory / "store"))
    return caught.value.message


def test_hooks_and_execution_use_the_packages_and_the_interpreter_of_an_archive(tmp_path, environment, cache):
    repository = tmp_path / "models"
    for name in ("one", "two"):
        write_model(repository, name, REPORTING, config=PATH.format("$$TRITON_MODEL_DIRECTORY/env.tar.gz"))
        pack(environment, repository / name / "env.tar.gz")

    async def scenario(engine):
        for name in ("one", "two"):
            found, prefix, virtual, path = await infer_text(engine, name, "x")
            assert found == "FOUND"
            assert prefix == virtual
            assert path == f"{prefix}/bin"
            assert prefix.startswith(str(cache))
            assert [output.name for output in engine.model_config(name, "").output] == ["OUT", "FOUND"]

    served(repository, scenario)


def test_a_directory_is_used_where_it_is(tmp_path, environment, cache):
    write_model(tmp_path / "models", "m", REPORTING, config=PATH.format(environment))

    async def scenario(engine):
        assert (await infer_text(engine, "m", "x"))[1] == str(environment)

    served(tmp_path / "models", scenario)
    assert not cache.exists()


def test_a_model_in_a_thread_keeps_the_servers_environment_and_the_log_says_so(tmp_path, caplog):
    source = methods("def execute(self, requests): return [reply(sys.prefix)]")
    write_model(tmp_path, "m", source, mode="thread", config=PATH.format("/nowhere"))

    async def scenario(engine):
        assert await infer_text(engine, "m", "x") == [sys.prefix]

    served(tmp_path, scenario)
    assert "EXECUTION_ENV_PATH is ignored, a model in a thread runs in the server's own environment" in caplog.text


def test_a_model_whose_environment_is_not_there_is_not_loaded(tmp_path):
    write_model(tmp_path, "m", methods("def execute(self, requests): ..."), config=PATH.format("/nowhere/env.tar.gz"))

    async def scenario():
        async with serving(tmp_path) as engine:
            return engine.failed["m"]

    assert "Failed to get the canonical path for /nowhere/env.tar.gz." in str(asyncio.run(scenario()).detail)


def test_the_models_directory_is_not_left(tmp_path, environment):
    made = pack(environment, tmp_path / "env.tar.gz")
    (tmp_path / "m").mkdir()
    assert made.is_file()
    message = problem("$$TRITON_MODEL_DIRECTORY/../env.tar.gz", tmp_path / "m")
    assert message == "EXECUTION_ENV_PATH '$$TRITON_MODEL_DIRECTORY/../env.tar.gz' leads out of the model's directory"


def fake(directory, script):
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "activate").touch()
    (directory / "bin" / "python").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "bin" / "python").chmod(0o755)
    return directory


@pytest.mark.parametrize(
    ("script", "message"),
    {
        "echo 2.7": "has Python 2.7, but the server runs on Python",
        "echo GLIBC_9.9 not found >&2; exit 127": "does not start: GLIBC_9.9 not found",
        "exit 3": "does not start: ",
    }.items(),
)
def test_an_interpreter_that_does_not_fit_is_named(tmp_path, script, message):
    assert message in problem(fake(tmp_path / "env", script), tmp_path)


def test_an_environment_without_its_parts_is_refused(tmp_path):
    empty = tmp_path / "env"
    (empty / "bin").mkdir(parents=True)
    assert problem(empty, tmp_path) == (
        f"Path {empty}/bin/activate does not exist. The Python environment should contain an 'activate' script."
    )
    (empty / "bin" / "activate").touch()
    (empty / "bin" / "python").symlink_to("/nowhere/python3")
    assert problem(empty, tmp_path) == (
        f"EXECUTION_ENV_PATH '{empty}' has no bin/python that can be run; bin/python leads to /nowhere/python3"
    )


def test_a_harmful_archive_is_refused_and_a_refused_environment_can_be_removed(tmp_path):
    harmful = write_archive(tmp_path / "a.tar.gz", member("../x"))
    assert problem(harmful, tmp_path) == (
        f"EXECUTION_ENV_PATH '{harmful}' is not usable: member '../x' would be outside of the environment"
    )
    useless = write_archive(tmp_path / "b.tar.gz", member("bin/activate"))
    assert "has no bin/python" in problem(useless, tmp_path)
    [entry] = (path for path in (tmp_path / "store").iterdir() if path.is_dir())
    descriptor = os.open(entry, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if somebody still uses it
    os.close(descriptor)


def test_models_without_the_parameter_have_no_environment(tmp_path):
    assert open_environment(model_config_pb2.ModelConfig(name="m"), tmp_path) is None
