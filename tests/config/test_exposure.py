"""The fronts of the server: SageMaker's and Vertex AI's flags, ports that contradict, warnings about open ports."""

from pathlib import Path

import pytest

from slipway.config.exposure import exposure_warnings
from slipway.config.options import fronts, parse_options
from slipway.errors import SlipwayError

PREDICTION = {"AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": "9999", "AIP_STORAGE_URI": "/storage"}


def mistake(*words):
    with pytest.raises(SlipwayError) as caught:
        parse_options(["models", *words], {})
    return caught.value.message


def test_vertex_ai_sets_the_defaults():
    options = parse_options([], PREDICTION)
    assert (options.allow_vertex_ai, options.allow_http, options.allow_grpc) == (True, False, False)
    assert (options.vertex_ai_port, options.model_repository) == (9999, (Path("/storage"),))


def test_flags_come_before_the_environment():
    words = ["models", "--allow-vertex-ai=false", "--allow-http", "--vertex-ai-port=1234"]
    options = parse_options(words, PREDICTION)
    assert (options.allow_vertex_ai, options.allow_http, options.allow_grpc) == (False, True, False)
    assert (options.vertex_ai_port, options.model_repository) == (1234, (Path("models"),))


def test_another_mode_changes_nothing():
    assert parse_options(["models"], {"AIP_MODE": "TRAINING"}) == parse_options(["models"], {})


def test_a_port_of_the_environment_is_checked():
    with pytest.raises(SlipwayError, match=r"AIP_HTTP_PORT: Invalid option value\. Got http"):
        parse_options(["models"], {"AIP_HTTP_PORT": "http"})


def test_sagemaker_keeps_the_other_fronts_in_its_range():
    words = ("--allow-sagemaker", "--sagemaker-safe-port-range=8000-8001")
    assert mistake(*words) == (
        "The server cannot listen to metrics requests at port 8002, allowed port range is [8000, 8001]"
    )
    parse_options(["models", *words, "--allow-metrics=false"], {})
    parse_options(["models", "--sagemaker-safe-port-range=1-2"], {})  # of no meaning without it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8000", "Cannot parse pair option due to incorrect number of inputs."),
        ("a-8000", "Invalid option value. Got a"),
        ("8000-99999", "Provided option value is out of bound. Got 99999"),
    ],
)
def test_a_range_has_two_ports(text, message):
    assert message in mistake(f"--sagemaker-safe-port-range={text}")


def test_platforms_and_other_fronts_cannot_have_one_port():
    assert mistake("--allow-sagemaker", "--sagemaker-port=8001") == (
        "The server cannot listen to GRPC requests and SageMaker requests at the same address and port 127.0.0.1:8001"
    )
    assert "SageMaker requests and Vertex AI requests" in mistake("--allow-sagemaker", "--allow-vertex-ai")


def test_encryption_of_http_needs_its_files():
    assert mistake("--http-use-ssl", "--http-server-key=/absent.key") == (
        "--http-use-ssl needs --http-server-cert with a PEM file; --http-server-key: '/absent.key' is not a file"
    )
    assert "--http-use-ssl-mutual needs --http-root-cert with a PEM file" in mistake("--http-use-ssl-mutual")


def warnings(*words):
    return list(exposure_warnings(fronts(parse_options(["models", *words], {}))))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--http-address=127.0.0.9", "--grpc-address=::1"),
        ("--metrics-address=0.0.0.0",),
        ("--http-address=0.0.0.0", "--allow-http=false", "--metrics-address=127.0.0.1"),
    ],
)
def test_a_server_for_this_machine_gets_no_warning(words):
    assert warnings(*words) == []


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        (
            ["--http-address=0.0.0.0"],
            "HTTP on 0.0.0.0:8000 IS OPEN TO OTHER MACHINES WITHOUT ANY PROTECTION, loads and settings included: ",
        ),
        (["--grpc-address=10.1.2.3"], "GRPC on 10.1.2.3:8001 IS OPEN TO OTHER MACHINES"),
        (["--allow-sagemaker"], "SageMaker on 0.0.0.0:8080 IS OPEN TO OTHER MACHINES"),
        (
            ["--allow-vertex-ai"],
            "Vertex AI on 0.0.0.0:8080 IS OPEN TO OTHER MACHINES WITHOUT ANY PROTECTION: --http-restricted-api asks",
        ),
        (
            ["--http-address=0.0.0.0", "--http-restricted-api=inference:k=v"],
            "HTTP on 0.0.0.0:8000 is not encrypted: the key of --http-restricted-api can be read",
        ),
    ],
)
def test_an_open_front_gets_a_warning(words, begin):
    (warning,) = warnings(*words)
    assert warning.startswith(begin)


def test_a_key_and_encryption_or_certificates_are_enough(tmp_path):
    pem = tmp_path / "pem"
    pem.write_text("")
    files = [f"--http-{name}={pem}" for name in ("server-cert", "server-key", "root-cert")]
    assert warnings("--http-address=0.0.0.0", "--http-use-ssl-mutual", *files) == []
    assert warnings("--http-address=0.0.0.0", "--http-use-ssl", "--http-restricted-api=trace:k=v", *files) == []
