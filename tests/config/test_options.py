"""tritonserver's flags are read into one frozen object; mistakes are named in its words."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from slipway.config.flags import flags_of
from slipway.config.options import ServerOptions, parse_options
from slipway.config.unserved import WITHOUT_EFFECT
from slipway.errors import Code, SlipwayError
from slipway.rest.metrics import MetricsOptions
from slipway.rpc.options import GrpcOptions

# The flags of tritonserver 2.51 (--help), and those that later versions added.
TRITON = """
    id exit-timeout-secs log-verbose log-info log-warning log-error log-format log-file model-store model-repository
    exit-on-error disable-auto-complete-config strict-readiness model-control-mode repository-poll-secs load-model
    model-config-name model-load-thread-count model-load-retry-count model-namespacing enable-peer-access allow-http
    http-address http-port reuse-http-port http-header-forward-pattern http-thread-count http-restricted-api allow-grpc
    grpc-address grpc-port reuse-grpc-port grpc-header-forward-pattern grpc-infer-allocation-pool-size grpc-use-ssl
    grpc-use-ssl-mutual grpc-server-cert grpc-server-key grpc-root-cert grpc-infer-response-compression-level
    grpc-keepalive-time grpc-keepalive-timeout grpc-keepalive-permit-without-calls grpc-http2-max-pings-without-data
    grpc-http2-min-recv-ping-interval-without-data grpc-http2-max-ping-strikes grpc-max-connection-age
    grpc-max-connection-age-grace grpc-restricted-protocol allow-sagemaker sagemaker-port sagemaker-safe-port-range
    sagemaker-thread-count allow-vertex-ai vertex-ai-port vertex-ai-thread-count vertex-ai-default-model allow-metrics
    allow-gpu-metrics allow-cpu-metrics metrics-address metrics-port metrics-interval-ms metrics-config trace-config
    backend-directory backend-config repoagent-directory cache-config cache-directory rate-limit rate-limit-resource
    pinned-memory-pool-byte-size cuda-memory-pool-byte-size cuda-virtual-address-size min-supported-compute-capability
    buffer-manager-thread-count host-policy model-load-gpu-limit strict-model-config response-cache-byte-size trace-file
    trace-level trace-rate trace-count trace-log-frequency
    http-max-input-size grpc-infer-thread-count grpc-max-response-pool-size allow-client-shm
""".split()


def mistake(*arguments: str) -> str:
    with pytest.raises(SlipwayError) as caught:
        parse_options(["models", *arguments])
    assert caught.value.code is Code.INVALID_ARG
    assert "\n" not in caught.value.message
    return caught.value.message


def test_every_flag_of_tritonserver_is_known_once():
    served = [name for flag in flags_of(ServerOptions) for name in (flag.name, *flag.aliases, *flag.deprecated)]
    known = [*served, *WITHOUT_EFFECT]
    assert len(known) == len(set(known))
    assert set(known) - set(TRITON) == {
        "accuracy",
        "engine",
        "fast",
        "input",
        "name",
        "precision",
        "task",
        "grpc-engine",
        "drain-delay-secs",
        "http-allowed-hosts",
        "allow-model-upload",
        "grpc-max-message-bytes",
        "max-buffered-bytes",
        "http-use-ssl",
        "http-use-ssl-mutual",
        "http-server-cert",
        "http-server-key",
        "http-root-cert",
        "sagemaker-address",
        "sagemaker-model-directory",
        "vertex-ai-address",
        "log-access",
        "config",
        "show-options",
        "api-key",
        "api-key-file",
        "metrics-require-api-key",
        "proxy",
        "proxy-address",
        "proxy-port",
        "openai",
        "ui",
    }
    assert set(TRITON) <= set(known)


def test_without_flags_the_options_are_the_defaults():
    assert parse_options(["models"]) == ServerOptions(model_repository=(Path("models"),))


def test_options_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        ServerOptions().http_port = 1


def test_grpc_settings_and_their_defaults_are_those_of_the_front():
    ours = ServerOptions()
    assert GrpcOptions(**{each.name: getattr(ours, each.name) for each in fields(GrpcOptions)}) == GrpcOptions()


def test_metrics_settings_are_those_of_the_front():
    options = parse_options(["models", "--metrics-config=histogram_latencies=false", "--allow-cpu-metrics=off"])
    made = MetricsOptions(**options.metrics_config, cpu=options.allow_cpu_metrics)
    assert made == MetricsOptions(counter_latencies=True, histogram_latencies=False, cpu=False)
    assert MetricsOptions(**ServerOptions().metrics_config) == MetricsOptions()


def test_summaries_are_off_and_their_quantiles_can_be_chosen():
    assert ServerOptions().metrics_config["summary_latencies"] is False
    words = ["--metrics-config=summary_latencies=true", '--metrics-config=summary_quantiles="0.9:0.01,0.5:0.05"']
    chosen = parse_options(["models", *words]).metrics_config
    assert chosen["summary_latencies"] is True
    assert str(chosen["summary_quantiles"]) == "0.5:0.05,0.9:0.01"


@pytest.mark.parametrize("given", [["--http-port=0"], ["--http-port", "0"], ["--http-port=1", "--http-port=0"]])
def test_a_value_follows_an_equals_sign_or_a_space_and_the_last_counts(given):
    assert parse_options(["models", *given]).http_port == 0


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("ON", True), ("1", True), ("False", False), ("off", False), ("0", False)]
)
def test_booleans_are_written_in_six_ways_in_any_case(text, value):
    assert parse_options(["models", f"--strict-readiness={text}"]).strict_readiness is value
    assert parse_options(["models", "--strict-readiness", text]).strict_readiness is value


@pytest.mark.parametrize("given", [["--reuse-http-port", "models"], ["models", "--reuse-http-port"]])
def test_a_boolean_flag_without_a_value_is_true_and_takes_no_other_word(given):
    options = parse_options(given)
    assert options.reuse_http_port
    assert options.model_repository == (Path("models"),)


def test_repositories_add_up_whichever_flag_names_them():
    options = parse_options(["a", "--model-repository=b", "--model-store", "c"])
    assert options.model_repository == (Path("a"), Path("b"), Path("c"))


def test_models_to_load_add_up():
    options = parse_options(["models", "--model-control-mode=explicit", "--load-model=a", "--load-model", "b"])
    assert options.load_model == ("a", "b")


def test_allowed_hosts_add_up():
    options = parse_options(["models", "--http-allowed-hosts=A.example, .b.example", "--http-allowed-hosts", "*"])
    assert options.http_allowed_hosts == ("a.example", ".b.example", "*")


def test_backend_settings_are_kept_by_backend_and_those_of_all_under_the_empty_name():
    words = ["python,shm=a=b", "python,x=", "onnxruntime,x=1", "default-max-batch-size=8"]
    options = parse_options(["models", *(f"--backend-config={word}" for word in words)])
    assert options.backend_config == {
        "python": {"shm": "a=b", "x": ""},
        "onnxruntime": {"x": "1"},
        "": {"default-max-batch-size": "8"},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--allow-http=maybe", 'Bad option: "--allow-http". invalid value for bool option: maybe'),
        ("--http-port=abc", 'Bad option: "--http-port". Invalid option value. Got abc'),
        ("--http-port=1_0", 'Bad option: "--http-port". Invalid option value. Got 1_0'),
        ("--http-port=65536", 'Bad option: "--http-port". Provided option value is out of bound. Got 65536'),
        ("--http-port=" + "9" * 5000, "Provided option value is out of bound"),
        ("--http-port", "option '--http-port' requires an argument"),
        ("--nope=3", "unrecognized option '--nope=3'"),
        ("-p", "unrecognized option '-p'"),
        ("--http-prot=3", "unrecognized option '--http-prot=3'; did you mean '--http-port'?"),
        (
            "--log-format=foo",
            'Bad option: "--log-format". invalid argument foo; expected one of default, ISO8601',
        ),
        ("--backend-config=foo", "option format is '<backend name>,<setting>=<value>'. Got foo"),
        ("--backend-config=a,=b", "option format is '<backend name>,<setting>=<value>'. Got a,=b"),
        ("--backend-config=,a=b", "No backend specified. --backend-config option format is"),
        ("--backend-config=default-max-batch-size=x", "Invalid option value. Got x"),
        ("--metrics-config=foo", "--metrics-config option format is <setting>=<value>. Got foo"),
        ("--metrics-config=foo=1", "unknown setting 'foo'"),
        (
            "--metrics-config=summary_latency=true",
            "unknown setting 'summary_latency'; did you mean 'summary_latencies'?",
        ),
        ("--metrics-config=summary_latencies=2", "invalid value for bool option: 2"),
        ("--metrics-config=summary_quantiles=0.5", "Invalid option: [0.5]. No ':' delimiter found. Expected format is"),
        ("--metrics-config=summary_quantiles=0.5:0.1,a:b", "Invalid option: [a:b]. Expected two numbers"),
        ("--metrics-config=summary_quantiles=1.5:0.1", "Invalid option: [1.5:0.1]. A quantile is in the range 0 to 1"),
        ("--metrics-config=summary_quantiles=nan:0.1", "Invalid option: [nan:0.1]. A quantile is in the range 0 to 1"),
        ("--model-config-name=", "empty argument for --model-config-name"),
        ("--model-config-name=../x", "Got ../x"),
        ("--load-model=x", "Use of '--load-model' requires setting '--model-control-mode=explicit' as well."),
        ("--http-max-input-size=0", "--http-max-input-size must be greater than 0."),
        ("--repository-poll-secs=0", "out of bound"),
        ("--http-allowed-hosts=http://a", "expected names of hosts without scheme, port and path, separated by commas"),
        ("--http-allowed-hosts=a:80", "Got a:80"),
        ("--http-allowed-hosts=", "expected names of hosts"),
    ],
)
def test_a_mistake_is_named(given, message):
    assert message in mistake(given)


def test_all_mistakes_are_named_at_once():
    assert mistake("--http-port=a", "--grpc-port=b", "--wrong").count("; ") == 2


def test_a_repository_is_needed():
    with pytest.raises(SlipwayError, match=r"^--model-repository must be specified$"):
        parse_options([])


def test_every_model_is_asked_for_alone():
    words = ["--model-control-mode=explicit", "--load-model=*"]
    assert parse_options(["models", *words]).load_model == ("*",)
    assert "must be the ONLY startup model" in mistake(*words, "--load-model=a")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--grpc-port=8000"], "HTTP requests and GRPC requests at the same address and port 127.0.0.1:8000"),
        (["--metrics-port=8000"], "HTTP requests and metrics requests at the same address and port 127.0.0.1:8000"),
        (
            ["--metrics-port=8001", "--grpc-address=0.0.0.0"],
            "GRPC requests and metrics requests at the same address and port 0.0.0.0:8001",
        ),
    ],
)
def test_two_fronts_cannot_have_one_port(given, message):
    assert mistake(*given) == f"The server cannot listen to {message}"


@pytest.mark.parametrize(
    "given",
    [
        ["--http-port=0", "--grpc-port=0", "--metrics-port=0"],
        ["--grpc-port=8000", "--allow-http=false"],
        ["--grpc-port=8000", "--grpc-address=127.0.0.2"],
    ],
)
def test_fronts_that_cannot_meet_may_have_one_port(given):
    parse_options(["models", *given])


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_flag_without_effect_is_accepted_with_one_warning(name):
    options = parse_options(["models", f"--{name}=1", f"--{name}=0"])
    (warning,) = options.warnings
    assert warning.startswith(f"--{name} has no effect: ")


def test_a_negative_value_may_follow_a_space():
    assert parse_options(["models", "--trace-count", "-1"]).trace_count == -1


def test_a_deprecated_name_still_works_with_a_warning():
    options = parse_options(["models", "--strict-model-config=true"])
    assert options.disable_auto_complete_config
    assert options.warnings == ("--strict-model-config is deprecated; use --disable-auto-complete-config",)


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_flag_and_default(capsys, word):
    with pytest.raises(SystemExit) as caught:
        parse_options([word])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"--{name}" in printed for name in TRITON if name != "strict-model-config")
    assert "(default: 127.0.0.1)" in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("given", "fronts"),
    [
        ([], []),
        (["--allow-client-shm"], []),
        (["--http-address=0.0.0.0", "--grpc-address=0.0.0.0"], []),
        (["--allow-client-shm=true", "--http-address=0.0.0.0", "--grpc-address=::1"], ["--http-address=0.0.0.0"]),
        (["--allow-client-shm=1", "--allow-http=0", "--http-address=::", "--grpc-address=::"], ["--grpc-address=::"]),
    ],
)
def test_shared_memory_that_other_machines_reach_is_warned_about(given, fronts):
    warnings = [text for text in parse_options(["models", *given]).warnings if "shared memory" in text]
    assert [text.split(":")[0].split(" with ")[1] for text in warnings] == [text.split(":")[0] for text in fronts]


@pytest.mark.parametrize("given", ["--model-repository=", "--model-store="])
def test_an_empty_repository_is_not_the_working_directory(given):
    assert "expected a directory, got an empty text" in mistake(given)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (
            ["--grpc-use-ssl=true"],
            ["--grpc-use-ssl needs --grpc-server-cert", "--grpc-use-ssl needs --grpc-server-key"],
        ),
        (
            ["--grpc-use-ssl-mutual", "--grpc-server-cert=/absent.pem"],
            ["'/absent.pem' is not a file", "--grpc-root-cert"],
        ),
    ],
)
def test_encryption_names_the_files_it_lacks(given, texts):
    message = mistake(*given)
    assert [text for text in texts if text not in message] == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["--http-address=0.0.0.0"],
            ["gRPC listens only on 127.0.0.1, unlike HTTP; --grpc-address=0.0.0.0 opens it to other machines"],
        ),
        (
            ["--grpc-address=10.0.0.1"],
            ["HTTP listens only on 127.0.0.1, unlike gRPC; --http-address=10.0.0.1 opens it to other machines"],
        ),
        (["--http-address=0.0.0.0", "--grpc-address=0.0.0.0"], []),
        (["--http-address=0.0.0.0", "--allow-grpc=false"], []),
        (["--http-address=localhost"], []),
        ([], []),
    ],
)
def test_a_front_left_on_loopback_is_named(given, expected):
    assert list(parse_options(["models", *given]).warnings) == expected
