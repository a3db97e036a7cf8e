"""Credentials of repositories in object storage, as Triton reads them: from the environment, or from one JSON file.

`TRITON_CLOUD_CREDENTIAL_PATH` names the file; without it, the variables of each provider count. Format and selection:
Triton docs/user_guide/model_repository.md, "Cloud Storage with Credential file". No message contains a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from slipway.config.remote_location import AZURE, GOOGLE, S3, RemoteLocation
from slipway.errors import SlipwayError, invalid, shown, unavailable
from slipway.foreign_json import read_foreign
from slipway.nearest import nearest_or_all

_FILE: Final = "TRITON_CLOUD_CREDENTIAL_PATH"
_SECRET_SETTINGS: Final = ("accountkey", "sharedaccesssignature")  # of Azure's connection strings


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Without a key, the profile counts, then what Amazon's own libraries find on this machine."""

    key_id: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    region: str = ""
    profile: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        return (self.key_id, self.secret_key, self.session_token)


@dataclass(frozen=True, slots=True)
class GoogleCredentials:
    """The path of a JSON file of Google's; "" for what Google's own library finds on this machine."""

    path: str = ""
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AzureCredentials:
    """`auth_type` is key, managed_identity or default. A `connection_string`, which names an account with its key and
    address, counts before everything else."""

    account_str: str = ""
    account_key: str = field(default="", repr=False)
    auth_type: str = ""
    client_id: str = ""
    connection_string: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        settings = (setting.partition("=") for setting in self.connection_string.split(";"))
        return (self.account_key, *(value for name, _, value in settings if name.lower() in _SECRET_SETTINGS))


@dataclass(frozen=True, slots=True)
class NoCredentials:
    """Of web servers: aiohttp reads ~/.netrc."""

    secrets: tuple[str, ...] = ()


Credentials = S3Credentials | GoogleCredentials | AzureCredentials | NoCredentials

# Field -> variable, for the providers whose credentials have fields.
_S3_VARIABLES: Final = {
    "key_id": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "region": "AWS_DEFAULT_REGION",
    "profile": "AWS_PROFILE",
}
_AZURE_VARIABLES: Final = {
    "account_str": "AZURE_STORAGE_ACCOUNT",
    "account_key": "AZURE_STORAGE_KEY",
    "auth_type": "AZURE_STORAGE_AUTH_TYPE",
    "client_id": "AZURE_STORAGE_CLIENT_ID",
    "connection_string": "AZURE_STORAGE_CONNECTION_STRING",
}
_AUTH_TYPES: Final = ("", "key", "managed_identity", "default")


def read_credentials(location: RemoteLocation, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Return the credentials of a location; raise INVALID_ARG for a file that is not as it should be, UNAVAILABLE if it
    has none for this location."""
    if location.scheme not in (S3, GOOGLE, AZURE):
        return NoCredentials()
    file = environment.get(_FILE)
    if file:
        return _from_file(Path(file), location)
    if location.scheme == GOOGLE:
        return GoogleCredentials(environment.get("GOOGLE_APPLICATION_CREDENTIALS", ""))
    variables = _S3_VARIABLES if location.scheme == S3 else _AZURE_VARIABLES
    given = {name: environment.get(variable, "") for name, variable in variables.items()}
    return S3Credentials(**given) if location.scheme == S3 else _azure(given, _AZURE_VARIABLES["auth_type"])


def _from_file(path: Path, location: RemoteLocation) -> Credentials:
    try:
        content = read_foreign(path)
    except SlipwayError as error:
        raise invalid(f"{_FILE}: {error.message}") from None
    source = f"{_FILE}: {path}"
    _check_names(content, (S3, GOOGLE, AZURE), source)
    by_prefix = content.get(location.scheme, {})
    if not isinstance(by_prefix, dict):
        raise invalid(f"{source}: '{location.scheme}' is not an object")
    matching = [prefix for prefix in by_prefix if location.text.startswith(prefix)]
    if not matching:
        raise unavailable(f"{source}: Cannot match credential for path {location.text}")
    prefix = max(matching, key=len)
    return _read(by_prefix[prefix], location.scheme, f"{source}: '{location.scheme}' '{shown(prefix)}'")


def _read(given: Any, scheme: str, source: str) -> Credentials:
    if scheme == GOOGLE:
        if not isinstance(given, str):
            raise invalid(f"{source}: expected the path of a file")
        return GoogleCredentials(given)
    known = S3Credentials if scheme == S3 else AzureCredentials
    _check_names(given, [each.name for each in fields(known)], source)
    for name, value in given.items():
        if not isinstance(value, str):
            raise invalid(f"{source}: '{name}' is not a string")
    return S3Credentials(**given) if scheme == S3 else _azure(given, source)


def _azure(given: Mapping[str, str], source: str) -> AzureCredentials:
    credentials = AzureCredentials(**given)
    if credentials.auth_type not in _AUTH_TYPES:
        raise invalid(f"{source}: unknown authentication type; expected {', '.join(_AUTH_TYPES[1:])}")
    return credentials


def _check_names(given: Any, known: tuple[str, ...] | list[str], source: str) -> None:
    if not isinstance(given, dict):
        raise invalid(f"{source}: expected an object")
    for name in given:
        if name not in known:
            raise invalid(f"{source}: unknown name '{shown(name)}'{nearest_or_all(name, known)}")
