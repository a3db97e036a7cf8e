import json

import pytest

from slipway.config.cloud_credentials import (
    AzureCredentials,
    GoogleCredentials,
    NoCredentials,
    S3Credentials,
    read_credentials,
)
from slipway.config.remote_location import read_location
from slipway.errors import SlipwayError

S3 = read_location("s3://bucket/models")
GOOGLE = read_location("gs://bucket/models")
AZURE = read_location("as://account/container/models")
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_PROFILE": "work",
    "GOOGLE_APPLICATION_CREDENTIALS": "/keys/google.json",
    "AZURE_STORAGE_ACCOUNT": "other",
    "AZURE_STORAGE_KEY": "key",
    "AZURE_STORAGE_AUTH_TYPE": "key",
    "AZURE_STORAGE_CLIENT_ID": "client",
}


@pytest.mark.parametrize(
    ("location", "credentials"),
    [
        (S3, S3Credentials("id", "secret", "token", "eu-west-1", "work")),
        (GOOGLE, GoogleCredentials("/keys/google.json")),
        (AZURE, AzureCredentials("other", "key", "key", "client")),
        (read_location("https://host/models"), NoCredentials()),
    ],
)
def test_credentials_come_from_the_variables_of_the_provider(location, credentials):
    assert read_credentials(location, VARIABLES) == credentials


def test_without_variables_there_are_none():
    assert read_credentials(S3, {}) == S3Credentials()
    assert read_credentials(GOOGLE, {}) == GoogleCredentials()
    assert read_credentials(AZURE, {}) == AzureCredentials()


def in_file(tmp_path, content):
    """Return an environment in which the credentials are in a file, and the variables say something else."""
    path = tmp_path / "credentials.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return VARIABLES | {"TRITON_CLOUD_CREDENTIAL_PATH": str(path)}


def test_a_file_replaces_the_variables_and_its_longest_matching_name_counts(tmp_path):
    environment = in_file(
        tmp_path,
        {
            "s3": {
                "": {"key_id": "any", "secret_key": "any"},
                "s3://bucket": {"key_id": "bucket", "secret_key": "b", "session_token": "", "region": "r"},
                "s3://bucket/models/own": {"key_id": "own", "secret_key": "o"},
                "s3://http://127.0.0.1:9000/": {"profile": "local"},
            },
            "gs": {"": "/keys/any.json", "gs://other": "/keys/other.json"},
            "as": {"as://account/container": {"account_str": "account", "account_key": "k"}},
        },
    )
    keys = {
        text: read_credentials(read_location(text), environment).key_id
        for text in ("s3://bucket/models", "s3://bucket/models/own", "s3://else/models", "s3://bucket2")
    }
    assert keys == {
        "s3://bucket/models": "bucket",
        "s3://bucket/models/own": "own",
        "s3://else/models": "any",
        "s3://bucket2": "bucket",  # the start of a text, as in Triton
    }
    assert read_credentials(read_location("s3://http://127.0.0.1:9000/b1"), environment).profile == "local"
    assert read_credentials(GOOGLE, environment) == GoogleCredentials("/keys/any.json")
    assert read_credentials(read_location("gs://other/x"), environment) == GoogleCredentials("/keys/other.json")
    assert read_credentials(AZURE, environment) == AzureCredentials("account", "k")
    with pytest.raises(SlipwayError, match="Cannot match credential for path as://other/container"):
        read_credentials(read_location("as://other/container"), environment)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"s3": {"": {"key_id": "hunter2"', "delimiter"),
        ("[]", "expected an object"),
        ({"s3s": {}}, "unknown name 's3s'; did you mean 's3'?"),
        ({"s3": "hunter2"}, "'s3' is not an object"),
        ({"s3": {"": "hunter2"}}, "'s3' '': expected an object"),
        ({"s3": {"": {"secret": "hunter2"}}}, "unknown name 'secret'; did you mean 'secret_key'?"),
        ({"s3": {"": {"key_id": 5, "secret_key": "hunter2"}}}, "'key_id' is not a string"),
        ({"gs": {}, "as": {}}, "Cannot match credential for path s3://bucket/models"),
    ],
)
def test_a_wrong_file_is_refused_without_showing_what_it_holds(tmp_path, content, reason):
    with pytest.raises(SlipwayError) as caught:
        read_credentials(S3, in_file(tmp_path, content))
    assert "TRITON_CLOUD_CREDENTIAL_PATH" in caught.value.message
    assert reason in caught.value.message
    assert "hunter2" not in caught.value.message


def test_a_file_that_is_not_there_and_a_wrong_authentication_type_are_refused(tmp_path):
    with pytest.raises(SlipwayError, match="No such file"):
        read_credentials(S3, {"TRITON_CLOUD_CREDENTIAL_PATH": str(tmp_path / "absent")})
    with pytest.raises(SlipwayError, match="expected key, managed_identity, default"):
        read_credentials(AZURE, {"AZURE_STORAGE_AUTH_TYPE": "password"})
    with pytest.raises(SlipwayError, match="expected the path of a file"):
        read_credentials(GOOGLE, in_file(tmp_path, {"gs": {"": {}}}))


def test_credentials_do_not_show_themselves():
    shown = repr(S3Credentials("my-id", "my-secret", "my-token")) + repr(
        AzureCredentials("account", "my-key", connection_string="my-string")
    )
    assert "my-" not in shown
