"""The compose files: valid, with commands that the server and the proxy accept, files that exist, ports of this machine
only, and time enough to stop."""

from __future__ import annotations

from pathlib import Path

import compose_spec
import pytest
import yaml

from slipway.config.options import parse_options
from slipway.proxy.options import parse_options as parse_proxy_options
from tests.deploy.test_image import DEPLOY, stages, variables
from tests.kits.compose_files import filled

SETTINGS = {"KEYS": "../keys"}
BASE, KEYS = (
    yaml.safe_load((DEPLOY / name).read_text()) for name in ("docker-compose.yaml", "docker-compose.keys.yaml")
)
OURS = ("server", "proxy")


def merged() -> dict[str, dict]:
    """Return the services with keys, as compose merges the two files: a command replaces the one before."""
    services = filled(BASE, SETTINGS)["services"]
    return services | {name: services[name] | more for name, more in filled(KEYS, SETTINGS)["services"].items()}


@pytest.mark.parametrize("document", [BASE, KEYS], ids=["base", "keys"])
def test_the_file_follows_the_compose_specification(document):
    text = yaml.safe_dump(filled(document, SETTINGS))
    compose_spec.PyCompose.from_yaml(text).validate()


def test_a_misspelt_key_would_be_found():
    services = filled(BASE, SETTINGS)["services"]
    wrong = {"services": {"server": services["server"] | {"stop_grace_perod": "40s"}}}
    with pytest.raises(ValueError, match="stop_grace_perod"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(wrong))


def test_the_keys_have_to_be_named():
    with pytest.raises(KeyError, match="KEYS"):
        filled(KEYS, {})


def test_every_port_is_published_on_this_machine_only():
    published = [port for service in filled(BASE, {})["services"].values() for port in service.get("ports", [])]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_is_mounted_from_the_repository_exists_and_is_read_only():
    services = filled(BASE, {})["services"].values()
    mounts = [each for service in services for each in service.get("volumes", []) if isinstance(each, dict)]
    sources = {each["source"] for each in mounts}
    assert "../models" in sources
    assert all(each["read_only"] for each in mounts)
    assert all((DEPLOY / source).exists() for source in sources - {"../models"})


def test_the_server_listens_where_its_clients_in_the_file_look_for_it():
    services = merged()
    command, *arguments = services["server"]["command"]
    assert command == "serve"
    environment = variables(stages()[-1])
    options = parse_options(arguments, {name: value for name, value in environment.items() if name != "PATH"})
    assert not [warning for warning in options.warnings if "has no effect" in warning]
    assert options.http_allowed_hosts == ("server",)
    command, *arguments = filled(BASE, {})["services"]["proxy"]["command"]
    assert command == "proxy"
    proxy = parse_proxy_options(arguments, {})
    assert proxy.server == f"server:{options.grpc_port}"
    assert proxy.port == 8005
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    (scraped,) = prometheus["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"server:{options.metrics_port}"]}]


def test_with_keys_the_server_asks_for_them_and_the_proxy_shows_those_of_its_clients(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-key\n")
    services = merged()
    place = "/run/secrets/keys"
    own = {name: value.replace(place, str(keys)) for name, value in services["server"]["environment"].items()}
    assert parse_options(services["server"]["command"][1:], own).needs_api_key
    arguments = [word.replace(place, str(keys)) for word in services["proxy"]["command"][1:]]
    proxy = parse_proxy_options(arguments, {})
    assert proxy.key == "a-key"
    assert proxy.forward_authorization
    assert arguments[:2] == filled(BASE, {})["services"]["proxy"]["command"][1:]


def test_a_container_gets_longer_to_stop_than_its_server_takes():
    server = filled(BASE, {})["services"]["server"]
    options = parse_options(server["command"][1:], {})
    taken = options.drain_delay_secs + options.exit_timeout_secs
    assert compose_spec.parse_duration(server["stop_grace_period"]) >= taken + 10


@pytest.mark.parametrize("name", OURS)
def test_a_container_has_no_rights_and_writes_only_to_tmp(name):
    service = filled(BASE, {})["services"][name]
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "1000:1000"


def test_grafana_finds_its_data_source_and_its_dashboard():
    grafana = filled(BASE, {})["services"]["grafana"]
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "slipway.yaml").read_text())["providers"]
    places = {each["target"]: DEPLOY / each["source"] for each in grafana["volumes"] if isinstance(each, dict)}
    assert (places[provider["options"]["path"]] / "slipway.json").is_file()
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (places[str(home.parent)] / home.name).is_file()


def test_nobody_can_log_in_to_grafana_with_its_default_password():
    environment = filled(BASE, {})["services"]["grafana"]["environment"]
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
