"""Eight models of every backend that can be made on the spot are loaded at the same time, twice."""

import asyncio
import shutil

import pytest
import torch

from tests.backends.openvino.models import to_ir
from tests.kits import fastertransformer_models, lightseq_models
from tests.kits import onnx_graphs as graphs
from tests.kits import torch_modules as modules
from tests.kits.engine import identity, rows, serving

COUNT = 8
TORCH = """backend: "pytorch"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 2 ] }
"""
PYTHON = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }
"""


def onnx(repository, name):
    graphs.two_outputs(repository / name)


def accelerated(repository, name):
    onnx(repository, name)
    accelerator = 'execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] }'
    (repository / name / "config.pbtxt").write_text(f"optimization {{ {accelerator} }}")


def openvino(repository, name):
    to_ir(graphs.two_outputs(repository / name))


def torchscript(repository, name):
    modules.script(repository / name, modules.SimpleNet())
    (repository / name / "config.pbtxt").write_text(TORCH)


def exported(repository, name):
    modules.export(repository / name, modules.SimpleNet(), (torch.zeros(3, 2),), rows=True)
    (repository / name / "config.pbtxt").write_text(TORCH)


def python(repository, name):
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(PYTHON)
    (repository / name / "1" / "model.py").write_text(
        "class TritonPythonModel:\n    def execute(self, requests): ...\n"
    )


def fastertransformer(repository, name):
    version = fastertransformer_models.add_model(repository, name, "T5")
    model = fastertransformer_models.tiny_t5(steps=0)
    fastertransformer_models.write_checkpoint(model, version, repository.parent / f"scratch-{name}")


def lightseq(repository, name):
    file = lightseq_models.add_model(repository, name, "Transformer")
    lightseq_models.export_to(file, lightseq_models.tiny_bart(), "hf-bart")


KINDS = (identity, onnx, accelerated, openvino, torchscript, exported, python, fastertransformer, lightseq)


@pytest.mark.parametrize("write", KINDS, ids=lambda write: write.__name__)
def test_eight_models_of_a_kind_load_at_the_same_time_twice(tmp_path, write):
    repository = tmp_path / "models"
    repository.mkdir()
    names = [f"m{index}" for index in range(COUNT)]
    write(repository, names[0])
    for name in names[1:]:
        shutil.copytree(repository / names[0], repository / name)
        _rename(repository / name / "config.pbtxt", name)

    async def scenario():
        for _ in range(2):
            async with serving(repository, model_load_thread_count=COUNT) as engine:
                assert [rows(engine, name) for name in names] == [["1 READY"]] * COUNT

    asyncio.run(scenario())


def _rename(config, name):
    if config.exists():
        config.write_text(config.read_text().replace('name: "m0"\n', f'name: "{name}"\n'))
