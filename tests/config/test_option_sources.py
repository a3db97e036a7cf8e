"""Options come from the command line, variables and a file, in this order; mistakes name their place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import slipway
from slipway.config.flags import flags_of
from slipway.config.option_report import option_lines
from slipway.config.options import ServerOptions, parse_options
from slipway.config.unserved import KINDS
from slipway.config.variables import OTHER_VARIABLES, PREFIX, variable_of
from slipway.errors import SlipwayError

SOURCE = Path(slipway.__file__).parent


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "slipway.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def mistakes(words, environment=None):
    with pytest.raises(SlipwayError) as caught:
        parse_options(["models", *words], environment or {})
    return caught.value.message.split("; ")


def shown(options, name):
    return [line.split(maxsplit=2)[1:] for line in option_lines(options) if line.split()[0] == name]


# Precedence


def test_the_command_line_comes_first_then_variables_then_the_file(write):
    file = write("http-port = 1\ngrpc-port = 2\nmetrics-port = 3\n")
    environment = {"SLIPWAY_CONFIG": str(file), "SLIPWAY_HTTP_PORT": "11", "SLIPWAY_GRPC_PORT": "12"}
    options = parse_options(["models", "--http-port=111"], environment)
    assert (options.http_port, options.grpc_port, options.metrics_port) == (111, 12, 3)
    assert shown(options, "http-port") == [["111", "command line"]]
    assert shown(options, "grpc-port") == [["12", "SLIPWAY_GRPC_PORT"]]
    assert shown(options, "metrics-port") == [["3", f"'{file}', line 3"]]
    assert shown(options, "http-address") == [["127.0.0.1", "default"]]


def test_the_command_line_names_the_file_before_the_variable(write, tmp_path):
    file = write("http-port = 1\n")
    options = parse_options(["models", "--config", str(file)], {"SLIPWAY_CONFIG": str(tmp_path / "absent")})
    assert options.http_port == 1
    assert options.config == file


def test_a_repeatable_option_is_taken_whole_from_one_source(write):
    file = write('model-control-mode = "explicit"\nload-model = ["a", "b"]\nbackend-config = "x,y=1"\n')
    flag = f"--config={file}"
    assert parse_options(["models", flag], {}).load_model == ("a", "b")
    assert parse_options(["models", flag], {"SLIPWAY_LOAD_MODEL": "c\n d \n\n"}).load_model == ("c", "d")
    options = parse_options(["models", flag, "--load-model=e"], {"SLIPWAY_LOAD_MODEL": "c"})
    assert options.load_model == ("e",)
    assert options.backend_config == {"x": {"y": "1"}}


def test_another_name_of_an_option_is_the_same_option(write):
    environment = {"SLIPWAY_MODEL_STORE": "/variable", "SLIPWAY_STRICT_MODEL_CONFIG": "true"}
    file = write('model-repository = "/file"\n')
    assert parse_options([f"--config={file}"], environment).model_repository == (Path("/variable"),)
    assert parse_options(["/word"], environment).model_repository == (Path("/word"),)
    options = parse_options([], environment)
    assert options.disable_auto_complete_config is True
    assert "--strict-model-config is deprecated; use --disable-auto-complete-config" in options.warnings


def test_vertex_ai_comes_after_variables():
    environment = {"AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": "99", "AIP_STORAGE_URI": "gs://bucket/models"}
    options = parse_options([], environment | {"SLIPWAY_ALLOW_HTTP": "true"})
    assert (options.allow_http, options.allow_grpc, options.vertex_ai_port) == (True, False, 99)
    assert shown(options, "allow-grpc") == [["false", "AIP_MODE"]]
    assert shown(options, "vertex-ai-port") == [["99", "AIP_HTTP_PORT"]]
    assert shown(options, "model-repository") == [["gs://bucket/models", "AIP_STORAGE_URI"]]


# Variables


def test_every_flag_has_a_variable():
    served = [name for flag in flags_of(ServerOptions) for name in (flag.name, *flag.aliases, *flag.deprecated)]
    assert variable_of("http-port") == "SLIPWAY_HTTP_PORT"
    variables = [variable_of(name) for name in (*served, *KINDS)]
    assert len(variables) == len(set(variables))
    assert not set(variables) & set(OTHER_VARIABLES)


def test_every_variable_that_the_code_reads_is_a_flag_or_in_the_table():
    flags = {variable_of(name) for flag in flags_of(ServerOptions) for name in (flag.name, *flag.aliases)}
    nodes = [node for path in SOURCE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    assert {name for name in map(read_variable, nodes) if name.startswith(PREFIX)} - flags == set(OTHER_VARIABLES)


def read_variable(node):
    """Return the name in `os.environ.get(NAME)` and `os.environ[NAME]` as text, "" for anything else."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name
        case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
            return name
    return ""


def test_a_misspelt_variable_is_refused_with_the_nearest_name():
    assert mistakes([], {"SLIPWAY_HTTP_PROT": "1", "SLIPWAY_API_TOKEN": "x", "HTTP_PORT": "1"}) == [
        "SLIPWAY_API_TOKEN is not a setting",
        "did you mean 'SLIPWAY_API_KEY'?",
        "SLIPWAY_HTTP_PROT is not a setting",
        "did you mean 'SLIPWAY_HTTP_PORT'?",
    ]


@pytest.mark.parametrize("name", ["SLIPWAY_TOOLS", "SLIPWAY_VERSION", "SLIPWAY_", "SLIPWAY_http_port_x9_zz"])
def test_a_variable_of_somebody_else_is_named(name):
    options = parse_options(["models"], {name: "1", "SLIPWAY_CACHE_DIR": "x"})
    assert options.warnings == (f"the environment variable {name} is not a setting, and has no effect",)


def test_variables_of_a_kubernetes_service_are_not_settings():
    links = {
        "SLIPWAY_SERVICE_HOST": "10.0.0.1",
        "SLIPWAY_SERVICE_PORT": "8000",
        "SLIPWAY_SERVICE_PORT_HTTP": "8000",
        "SLIPWAY_PORT": "tcp://10.0.0.1:8000",
        "SLIPWAY_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "SLIPWAY_PORT_8000_TCP_PROTO": "tcp",
        "SLIPWAY_PORT_8000_TCP_PORT": "8000",
        "SLIPWAY_PORT_8000_TCP_ADDR": "10.0.0.1",
        "SLIPWAY_HTTP_SERVICE_HOST": "10.0.0.1",
        "SLIPWAY_HTTP_SERVICE_PORT": "8000",
        "SLIPWAY_HTTP_PORT": "tcp://10.0.0.1:8000",
    }
    options = parse_options(["models"], links)
    assert options == parse_options(["models"], {})
    assert options.warnings == ()
    assert parse_options(["models"], links | {"SLIPWAY_HTTP_PORT": "9000"}).http_port == 9000


def test_a_mistaken_value_names_the_variable():
    assert mistakes([], {"SLIPWAY_HTTP_PORT": "x", "SLIPWAY_ALLOW_GRPC": "", "SLIPWAY_HTTP_THREAD_COUNT": "y"}) == [
        'Bad option: "SLIPWAY_ALLOW_GRPC". invalid value for bool option: ',
        'Bad option: "SLIPWAY_HTTP_PORT". Invalid option value. Got x',
        'Bad option: "SLIPWAY_HTTP_THREAD_COUNT". Invalid option value. Got y',
    ]


# The file


def test_values_mean_what_they_mean_on_the_command_line(write):
    file = write(
        """\ufeff# the server of the tests
        model-repository = ["/a", '/b c']
        "id" = 'three'
        allow-grpc = false
        http-max-input-size = 1_000
        trace-config = ["level=TIMESTAMPS", "rate=5", "triton,file=/tmp/trace"]
        http-thread-count = 4
        http-restricted-api = "inference:key=a"
        host-policy = []
        """
    )
    options = parse_options([f"--config={file}"], {})
    words = ["--model-repository=/a", "--model-repository=/b c", "--id=three", "--allow-grpc=false"]
    words += ["--http-max-input-size=1000", "--trace-config=level=TIMESTAMPS", "--trace-config=rate=5"]
    words += ["--trace-config=triton,file=/tmp/trace", "--http-thread-count=4", f"--config={file}"]
    words += ["--http-restricted-api=inference:key=a"]
    assert options == parse_options(words, {})
    assert shown(options, "trace-config")[1] == ["rate=5", f"'{file}', line 6"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("http-prot = 1", ["line 1: unknown key 'http-prot'", "did you mean 'http-port'?"]),
        ("\n\nhttp_port = 1", ["line 3: unknown key 'http_port'", "did you mean 'http-port'?"]),
        ("x = 1", ["line 1: unknown key 'x'", "'slipway serve --help' lists the flags"]),
        ("[http]\nport = 1", ["line 1: unknown key 'http'", "did you mean 'http-port'?"]),
        ("http.port = 1", ["line 1: unknown key 'http'", "did you mean 'http-port'?"]),
        ('id = """\nhttp-prot = 1\n"""\nhttp-prot = 2', ["line 4: unknown key 'http-prot'", "did you mean"]),
        ("config = 'x'", ["line 1: 'config' has no meaning in a file"]),
        ("show-options = true", ["line 1: 'show-options' has no meaning in a file"]),
        ("api-key = []", ["line 1: 'api-key' is an empty array: give it a value, or remove the key"]),
        ("http-restricted-api = []", ["line 1: 'http-restricted-api' is an empty array"]),
        ("http-port = [1]", ["line 1: 'http-port' takes one value, not an array"]),
        ("load-model = [['a']]", ["line 1: 'load-model' expects TEXT, not an array"]),
        ("load-model = [{a = 1}]", ["line 1: 'load-model' expects TEXT, not a table"]),
        ("http-port = true", ["line 1: 'http-port' expects N, not a boolean"]),
        ("http-port = 2020-01-01", ["line 1: 'http-port' expects N, not a date or time"]),
        ("allow-http = 'yes'", ["\"allow-http in '{path}', line 1\". invalid value for bool option: yes"]),
        ("http-port = 8e3", ["\"http-port in '{path}', line 1\". Invalid option value. Got 8000.0"]),
        ("http-thread-count = -1", ["\"http-thread-count in '{path}', line 1\". Provided option value is out of"]),
        ("http-port = 1\nhttp-port = 2", ["(at line 2, column "]),
        ("http-port = ", ["(at line 1, column "]),
        ("id = 'a", ['Expected "\'"']),
        (b"id = '\xff'", ["not valid UTF-8: invalid start byte at byte 6"]),
        pytest.param(b"#" * (257 << 10), ["the file is larger than 262144 bytes"], id="large"),
        pytest.param("id = " + "[" * 100_000, ["its arrays are nested too deeply"], id="deep"),
    ],
)
def test_a_mistake_names_the_file_and_the_line(write, text, problems):
    file = write(text)
    found = mistakes([f"--config={file}"])
    assert len(found) == len(problems)
    assert str(file) in found[0]
    for message, problem in zip(found, problems, strict=True):
        assert problem.format(path=file) in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    absent = tmp_path / "absent"
    assert mistakes([f"--config={absent}"]) == [
        f"--config: '{absent}': the file cannot be read: No such file or directory"
    ]
    assert mistakes(["--config="]) == ['Bad option: "--config". expected a file, got an empty text']


# What is shown


def test_secrets_are_not_shown(write):
    file = write('http-restricted-api = ["inference:key=s3cret", "metadata:key@env:KEY_OF_A_TEST"]\n')
    words = ["--cache-config=redis,password=s3cret", "--cache-config=redis,host=h", "--cache-config=redis,port=1"]
    words += ["--trace-config=opentelemetry,url=http://user:s3cret@host/x", "--api-key=s3cret"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY_OF_A_TEST", "s3cret")
        options = parse_options(["models", *words, f"--config={file}"], {})
    lines = option_lines(options)
    assert not [line for line in lines if "s3cret" in line]
    assert shown(options, "http-restricted-api") == [
        ["inference:key=********", f"'{file}', line 1"],
        ["metadata:key@env:KEY_OF_A_TEST", f"'{file}', line 1"],
    ]
    assert shown(options, "cache-config")[0] == ["redis,password=********", "command line"]
    assert shown(options, "trace-config") == [["opentelemetry,url=http://host/x", "command line"]]
    assert shown(options, "api-key") == [["********", "command line"]]


def test_what_is_shown_does_not_control_the_terminal():
    options = parse_options(["models", "--id=\x1b[2J"], {})
    assert shown(options, "id") == [["\\x1b[2J", "command line"]]


def test_every_option_is_shown_even_without_models():
    options = parse_options(["--show-options"], {})
    assert options.show_options
    names = [line.split()[0] for line in option_lines(options)]
    assert names == ["OPTION", *(flag.name for flag in flags_of(ServerOptions))]
