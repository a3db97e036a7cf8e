import asyncio
import hashlib

from slipway.errors import Code
from tests.kits.engine import adder, answer, explicit, refused, serving


def agents(digest):
    parameter = f'parameters {{ key: "MD5:1/model.onnx" value: "{digest}" }}'
    return f'model_repository_agents {{ agents [ {{ name: "checksum" {parameter} }} ] }}'


def test_a_model_loads_only_with_the_files_that_its_checksums_name(tmp_path):
    path = adder(tmp_path, "m", [1]) / "1" / "model.onnx"
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    (tmp_path / "m" / "config.pbtxt").write_text(agents(digest))

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            assert await answer(engine, "m") == [2.0, 3.0]
            (tmp_path / "m" / "config.pbtxt").write_text(agents("0" * 32))
            with refused(Code.INTERNAL, "failed to load 'm', failed to poll from model repository"):
                await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [2.0, 3.0]
        async with serving(tmp_path) as engine:
            text = f"Mismatched MD5 hash for file 1/model.onnx, expect: {'0' * 32}, got: {digest}"
            assert engine.failed["m"].detail == text

    asyncio.run(scenario())
