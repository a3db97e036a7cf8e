"""What is printed when everything is up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tritonclient.grpc import model_config_pb2 as pb

from slipway.cli.sources.announcing import MOST_MODELS, BoundAddress, announcement, bound_addresses, reachable
from slipway.cli.sources.cache import EntryRecord
from slipway.cli.sources.kinds import Source, SourceKind
from slipway.cli.sources.request import ConversionRequest
from slipway.config.conversion_flags import ConversionFlags
from slipway.config.options import ServerOptions, parse_options
from slipway.engine.api import IndexEntry
from slipway.server import GRPC_SERVICE

HTTP = {"HTTPService": BoundAddress("127.0.0.1", 9000)}
LOST = "openvino int8 is not exact: 99.1% of 103 sample texts keep their nearest neighbour"


class Models:
    """Models by name, each with a text as its input. Implements `announcing.ServedModels`."""

    def __init__(self, *names: str, live: bool = True) -> None:
        text = pb.ModelInput(name="text", data_type=pb.TYPE_STRING, dims=[1])
        self.configs = {name: pb.ModelConfig(name=name, max_batch_size=8, input=[text]) for name in names}
        self._live = live

    def live(self) -> bool:
        return self._live

    def repository_index(self, ready_only: bool) -> list[IndexEntry]:
        assert ready_only
        return [IndexEntry(name, "1", "READY") for name in self.configs]

    def model_config(self, name: str, version: str) -> pb.ModelConfig:
        assert version == ""
        return self.configs[name]


def record(name: str) -> EntryRecord:
    request = ConversionRequest.of(Source("dir", SourceKind.CHECKPOINT, name), ConversionFlags())
    return EntryRecord("dir", "c", request, (name,), {}, "openvino int8", (LOST,))


def lines(models: Models, options: ServerOptions | None = None, **settings) -> list[str]:
    given = {"addresses": HTTP, "converted": {}} | settings
    return announcement(models, options or ServerOptions(), **given).splitlines()


def test_the_addresses_are_those_that_this_machine_reaches():
    addresses = {
        "HTTPService": BoundAddress("0.0.0.0", 9000),  # noqa: S104
        GRPC_SERVICE: BoundAddress("::", 9001),
        "Metrics Service": BoundAddress("127.0.0.1", 9002),
    }
    shown = lines(Models(), addresses=addresses)
    assert shown[:4] == [
        "",
        "HTTP     http://127.0.0.1:9000",
        "gRPC     [::1]:9001",
        "metrics  http://127.0.0.1:9002/metrics",
    ]
    assert reachable(BoundAddress("host", 1)) == "host:1"


@pytest.mark.parametrize(("flags", "is_there"), [([], True), (["--no-ui"], False), (["--allow-http=false"], False)])
def test_the_page_has_the_address_of_http(flags, is_there):
    options = parse_options(["models", *flags], {})
    ports = {GRPC_SERVICE: 9001} | ({"HTTPService": 9000} if options.allow_http else {})
    shown = lines(Models(), options, addresses=bound_addresses(options, ports))
    assert ("page     http://127.0.0.1:9000/" in shown) is is_there


def test_a_converted_model_has_its_engine_its_cost_and_the_flag_that_avoids_it():
    shown = lines(Models("other", "m"), converted={"m": record("m")})
    at = shown.index("m (openvino int8)")
    assert shown[at + 1].startswith("  curl -s http://127.0.0.1:9000/v2/models/m/infer ")
    assert shown[at + 2 : at + 4] == [f"  {LOST}", "  --precision fp32 keeps every digit"]
    assert shown[at + 5] == "other"


def test_a_model_that_a_faster_form_will_replace_says_so():
    assert "a faster form is being converted" in lines(Models("m"), followed={"m"})[-1]
    assert "faster" not in "".join(lines(Models("m")))


def test_the_parts_of_an_ensemble_are_not_shown():
    models = Models("m", "m-model")
    models.configs["m"].ensemble_scheduling.step.add(model_name="m-model")
    assert [line for line in lines(models)[2:] if line and not line.startswith(" ")] == ["m"]


def test_of_many_models_some_are_shown_and_the_others_counted():
    shown = lines(Models(*(f"m{number}" for number in range(MOST_MODELS + 3))))
    assert sum("curl" in line for line in shown) == MOST_MODELS
    assert shown[-1] == "and 3 more models: m8, m9, m10"


def test_without_http_there_is_no_curl():
    shown = lines(Models("m"), addresses={GRPC_SERVICE: BoundAddress("127.0.0.1", 9001)})
    assert shown == ["", "gRPC     127.0.0.1:9001", "", "m", "  slipway infer m --help"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (ServerOptions(http_use_ssl=True, http_server_cert="c.pem"), "--cacert c.pem https://"),
        (parse_options(["m", "--http-restricted-api=inference:key=hidden"]), "-H 'key: SECRET' http://"),
    ],
    ids=["TLS", "restricted"],  # the shell reads API keys, see below
)
def test_what_the_server_requires_is_in_the_command_but_never_a_secret(options, word):
    (command,) = (line for line in lines(Models("m"), options) if "curl" in line)
    assert word in command
    assert "hidden" not in command


@pytest.mark.parametrize(
    ("data_type", "dims", "why"),
    [
        (pb.TYPE_FP32, [1 << 20, 1 << 20], "(no example: its inputs are too large)"),
        (pb.TYPE_STRING, [4096], "(no example: its inputs are too many strings)"),
    ],
)
def test_a_model_whose_example_would_be_too_large_has_none(data_type, dims, why):
    models = Models("m")
    models.configs["m"].input[0].CopyFrom(pb.ModelInput(name="x", data_type=data_type, dims=dims))
    assert lines(models)[-1] == f"  {why}"


def test_the_shell_reads_the_api_key_from_where_the_server_has_it(tmp_path):
    (tmp_path / "keys").write_text("# ours\n\n  hidden#in-a-file # the first\r\nanother\n")
    file = parse_options(["m", f"--api-key-file={tmp_path / 'keys'}"], {})
    variable = parse_options(["m"], {"SLIPWAY_API_KEY": "hidden-in-a-variable"})
    variables = parse_options(["m"], {"SLIPWAY_API_KEY": "hidden-in-a-variable\nhidden-too\n"})
    flag = parse_options(["m", "--api-key=hidden-on-the-command-line"], {})
    found = []
    for options in (file, variable, variables, flag):
        (command,) = (line for line in lines(Models("m"), options) if "curl" in line)
        assert "hidden" not in command
        shell = ["sh", "-c", command.replace("curl", "printf '%s\\n'")]
        value = "\n".join(["hidden-in-a-variable", "hidden-too"] if options is variables else ["hidden-in-a-variable"])
        environment = os.environ | {"SLIPWAY_API_KEY": value}
        words = subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
        found += [word for word in words.splitlines() if "Bearer" in word]
    keys = ("hidden#in-a-file", "hidden-in-a-variable", "hidden-in-a-variable", "KEY")
    assert found == [f"Authorization: Bearer {key}" for key in keys]


def test_a_server_without_its_repository_shows_addresses_only():
    assert lines(Models("m", live=False)) == ["", "HTTP     http://127.0.0.1:9000"]


def test_the_warm_up_sample_of_a_model_is_its_example(tmp_path: Path):
    models = Models("m")
    sample = models.configs["m"].model_warmup.add(name="own", batch_size=1)
    given = sample.inputs["text"]
    given.data_type, given.input_data_file = pb.TYPE_STRING, "text"
    given.dims.append(1)
    (tmp_path / "m/warmup").mkdir(parents=True)
    (tmp_path / "m/warmup/text").write_bytes(b"\x02\x00\x00\x00hi")
    assert any('"data":["hi"]' in line for line in lines(models, ServerOptions(model_repository=(tmp_path,))))


def test_a_name_cannot_begin_a_line_of_its_own_or_move_the_cursor():
    odd = "m\nrm -rf x\x1b[2J"
    for printed in (lines(Models(odd)), lines(Models(odd), addresses={}), lines(Models(*"abcdefgh", odd))):
        assert all(line.isprintable() for line in printed)
        assert not any(line.startswith("rm") for line in printed)
