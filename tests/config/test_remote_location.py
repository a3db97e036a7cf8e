import pytest

from slipway.config.options import parse_options
from slipway.config.remote_location import RemoteLocation, read_location, unprotected
from slipway.errors import SlipwayError


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("s3://bucket/some/path", RemoteLocation("s3", "s3://bucket/some/path", "bucket/some/path")),
        ("s3://bucket", RemoteLocation("s3", "s3://bucket", "bucket")),
        ("s3:///bucket//some///path/", RemoteLocation("s3", "s3://bucket/some/path", "bucket/some/path")),
        (
            "s3://localhost:9000/bucket/path",
            RemoteLocation("s3", "s3://localhost:9000/bucket/path", "bucket/path", endpoint="http://localhost:9000"),
        ),
        (
            "s3://https://s3.example.org:443/bucket",
            RemoteLocation(
                "s3", "s3://https://s3.example.org:443/bucket", "bucket", endpoint="https://s3.example.org:443"
            ),
        ),
        (
            "s3://http://[::1]:9000/bucket/p",
            RemoteLocation("s3", "s3://http://[::1]:9000/bucket/p", "bucket/p", endpoint="http://[::1]:9000"),
        ),
        ("gs://bucket/path", RemoteLocation("gs", "gs://bucket/path", "bucket/path")),
        (
            "as://account/container/path/",
            RemoteLocation("as", "as://account/container/path", "container/path", account="account"),
        ),
        (
            "as://account.blob.core.windows.net/container",
            RemoteLocation("as", "as://account.blob.core.windows.net/container", "container", account="account"),
        ),
        (
            "https://example.org:8443//models/",
            RemoteLocation("https", "https://example.org:8443/models", "https://example.org:8443/models"),
        ),
        ("https://example.org", RemoteLocation("https", "https://example.org", "https://example.org")),
    ],
)
def test_every_form_of_triton_is_read(text, location):
    assert read_location(text) == location


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://host/path", "'ftp://' are not supported; expected s3://, gs://, as://, https://, http:// or a dir"),
        ("S3://bucket/path", "did you mean 's3://'?"),
        ("gss://bucket/path", "did you mean 'gs://'?"),
        ("s3://", "No bucket name found in path"),
        ("s3://localhost:9000", "No bucket name found in path"),
        ("gs://b/x", "Invalid bucket name: 'b'"),
        ("s3://bucket/../other", "must not contain '.' or '..'"),
        ("gs://bucket/a\\b", "control characters or backslashes"),
        ("gs://bucket/a\nb", "control characters or backslashes"),
        ("as://account/container/path?sv=2026", "has no query and no fragment"),
        ("as://account", "No bucket name found in path"),
        ("as://ac_count/container", "expected as://ACCOUNT/CONTAINER/PATH"),
        ("https:///models", "expected https://HOST[:PORT]/PATH"),
        ("https://host:99999/models", "Port out of range"),
        ("https://host/models?x=1", "has no query and no fragment"),
        ("https://host/a/../b", "must not contain '.' or '..'"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError) as caught:
        read_location(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["https://me:hunter2@host/models", "s3://me:hunter2@host:9000/bucket"])
def test_credentials_in_a_url_are_refused_and_not_repeated(text):
    with pytest.raises(SlipwayError) as caught:
        parse_options([f"--model-repository={text}"])
    assert "must not contain credentials" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_directories_and_urls_may_be_mixed(tmp_path):
    options = parse_options([str(tmp_path), "--model-store=s3://bucket/models", "--model-repository", "gs://bucket"])
    assert options.model_repository == (tmp_path,)
    assert [each.text for each in options.remote_repositories] == ["s3://bucket/models", "gs://bucket"]


def test_a_remote_repository_alone_is_enough():
    assert parse_options(["s3://bucket/models"]).model_repository == ()
    with pytest.raises(SlipwayError, match="--model-repository must be specified"):
        parse_options([])


def test_what_is_read_without_encryption_is_named():
    texts = ["s3://bucket/a", "s3://host:9000/bucket", "http://host/models", "https://host/models"]
    warnings = list(unprotected(map(read_location, texts)))
    assert [warning.split()[0] for warning in warnings] == ["s3://host:9000/bucket", "http://host/models"]
    assert any("without encryption" in warning for warning in parse_options(["http://host/models"]).warnings)
