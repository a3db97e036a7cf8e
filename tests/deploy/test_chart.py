"""The Helm chart: it renders to valid objects with every choice of values, its flags are the server's, its pods end in
order, and a wrong value is refused."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest
import yaml

from slipway import __version__
from slipway.config.options import ServerOptions, parse_options
from slipway.rest.app import HEALTH_PATHS
from tests.deploy.test_image import DEPLOY

CHART = DEPLOY / "helm" / "slipway"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
MINIMAL = {"models": {"claim": "models"}}
CHOICES = {
    "least": MINIMAL,
    "everything": {
        "image": {"repository": "registry.example/slipway", "tag": "1.2", "pullSecrets": [{"name": "registry"}]},
        "models": {"claim": "models", "subPath": "production", "remote": ["s3://bucket/models"]},
        "arguments": ["--model-control-mode=poll", "--log-format=json"],
        "environment": [{"name": "AWS_REGION", "value": "eu-central-1"}],
        "apiKeys": {"secret": "slipway-keys"},
        "proxy": {"enabled": True},
        "drainDelaySeconds": 40,
        "autoscaling": {"enabled": True},
        "disruption": {"maxUnavailable": "25%"},
        "service": {"type": "LoadBalancer", "annotations": {"example/internal": "true"}},
        "serviceAccount": {"annotations": {"example/role": "reader"}},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "inference", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
    "remote models": {"models": {"remote": ["gs://bucket/models"]}, "serviceAccount": {"create": False}},
}
KINDS = {"Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}  # with the least values
SERVICE_MONITOR = {  # the fields of monitoring.coreos.com/v1 that the chart writes
    "apiVersion", "kind", "metadata", "metadata.name", "metadata.labels", "spec", "spec.selector",
    "spec.selector.matchLabels", "spec.endpoints", "spec.endpoints.port", "spec.endpoints.path",
    "spec.endpoints.interval",
}  # fmt: skip


def rendered(values: dict, name: str = "release") -> list[dict]:
    """Return the objects that helm makes of the chart."""
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is only for Linux on x86-64")
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace="production")
    texts = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def one(objects: list[dict], kind: str) -> dict:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def container(objects: list[dict]) -> dict:
    (found,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return found


def options_of(objects: list[dict], tmp_path) -> ServerOptions:
    """Return what the server reads in the arguments of its container, with a file of keys where the Secret is."""
    keys = tmp_path / "keys"
    keys.write_text("key\n")
    keys.chmod(0o440)
    command, *arguments = container(objects)["args"]
    assert command == "serve"
    return parse_options([word.replace("/etc/slipway/keys/keys", str(keys)) for word in arguments], {})


def paths(value: object, place: str = "") -> set[str]:
    """Return the places of all fields in an object; those of labels are left out."""
    if isinstance(value, list):
        return {each for item in value for each in paths(item, place)}
    if not isinstance(value, dict) or place.endswith(("labels", "matchLabels")):
        return set()
    found = {f"{place}.{name}".strip(".") for name in value}
    return found | {each for name, item in value.items() for each in paths(item, f"{place}.{name}".strip("."))}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_object_follows_the_schema_of_kubernetes(choice):
    kubernetes = pytest.importorskip("kubernetes_validate")
    for each in rendered(CHOICES[choice]):
        if each["kind"] == "ServiceMonitor":
            assert paths(each) == SERVICE_MONITOR
        else:
            kubernetes.validate(each, "1.37", strict=True)


def test_names_that_yaml_would_read_as_something_else_stay_texts():
    kubernetes = pytest.importorskip("kubernetes_validate")
    named = {"models": {"claim": "2024"}, "apiKeys": {"secret": "7"}, "serviceAccount": {"name": "12"}}
    objects = rendered({**CHOICES["everything"], **named}, name="on")
    for each in objects:
        if each["kind"] != "ServiceMonitor":
            kubernetes.validate(each, "1.37", strict=True)
    assert one(objects, "ServiceAccount")["metadata"]["name"] == "12"
    assert one(objects, "Deployment")["metadata"]["name"] == "on"
    assert one(objects, "ServiceMonitor")["metadata"]["name"] == "on"


@pytest.mark.parametrize("choice", CHOICES)
def test_lint_finds_nothing(choice):
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is only for Linux on x86-64")
    found = helm.lint(CHART, CHOICES[choice], strict=True)
    assert [message for message in found["messages"] if message["error"] != "icon is recommended"] == []


@pytest.mark.parametrize("choice", CHOICES)
def test_the_flags_are_the_servers_and_its_ports_are_the_containers(choice, tmp_path):
    objects = rendered(CHOICES[choice])
    options = options_of(objects, tmp_path)
    assert not [warning for warning in options.warnings if "has no effect" in warning or "every user" in warning]
    ports = {each["name"]: each["containerPort"] for each in container(objects)["ports"]}
    expected = {"http": options.http_port, "grpc": options.grpc_port, "metrics": options.metrics_port}
    assert ports == expected | ({"proxy": options.proxy_port} if options.proxy else {})
    services = [each for each in objects if each["kind"] == "Service"]
    published = {port["targetPort"]: port["port"] for each in services for port in each["spec"]["ports"]}
    assert published == ports
    names = ("release", "release.production", "release.production.svc", "release.production.svc.cluster.local")
    assert options.http_allowed_hosts == names
    assert "release" in {each["metadata"]["name"] for each in services}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_pod_gets_longer_to_end_than_its_server_takes(choice, tmp_path):
    objects = rendered(CHOICES[choice])
    options = options_of(objects, tmp_path)
    taken = options.drain_delay_secs + options.exit_timeout_secs
    assert one(objects, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == taken + 10


def test_readiness_is_seen_to_be_gone_before_the_drain_delay_is_over(tmp_path):
    objects = rendered(MINIMAL)
    probe = container(objects)["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < options_of(objects, tmp_path).drain_delay_secs


def test_the_probes_ask_routes_that_the_server_answers_without_a_key(measured):
    probed = container(rendered(MINIMAL))
    places = {name: probed[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert places["livenessProbe"] != places["readinessProbe"]  # a server that drains is alive
    for place in places.values():
        assert place.encode() in HEALTH_PATHS  # which are open
        with urllib.request.urlopen(f"http://{measured.http}{place}", timeout=20) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("choice", CHOICES)
def test_a_pod_has_no_rights_and_writes_only_to_tmp(choice):
    pod = one(rendered(CHOICES[choice]), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    (only,) = pod["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [each["mountPath"] for each in only["volumeMounts"] if not each.get("readOnly")]
    assert writable == ["/tmp"]  # noqa: S108


def test_the_least_values_make_only_what_a_server_needs():
    assert {each["kind"] for each in rendered(MINIMAL)} == KINDS


def test_the_number_of_pods_is_left_to_the_autoscaler_where_there_is_one():
    objects = rendered(CHOICES["everything"])
    assert "replicas" not in one(objects, "Deployment")["spec"]
    scaler = one(objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == one(objects, "Deployment")["metadata"]["name"]


def test_the_service_monitor_selects_the_service_with_the_metrics_only():
    objects = rendered(CHOICES["everything"])
    wanted = one(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    services = [each for each in objects if each["kind"] == "Service"]
    (selected,) = [each for each in services if wanted <= each["metadata"]["labels"].items()]
    assert [port["name"] for port in selected["spec"]["ports"]] == ["metrics"]


def test_the_dashboard_of_the_chart_is_the_one_in_the_repository():
    made = one(rendered(CHOICES["everything"]), "ConfigMap")["data"]["slipway.json"]
    assert json.loads(made) == json.loads((CHART / "dashboards" / "slipway.json").read_text())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "models.claim has to name"),
        ({**MINIMAL, "replica": 2}, "additional properties 'replica' not allowed"),
        ({**MINIMAL, "image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({**MINIMAL, "drainDelaySeconds": -1}, "drainDelaySeconds"),
        ({"models": {"remote": ["ftp://bucket"]}}, "remote"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values, message):
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is only for Linux on x86-64")
    with pytest.raises(helm.HelmError, match=message):
        rendered(values)


def leaves(values: dict, place: str = "") -> set[str]:
    """Return the places of the values that are not objects with entries."""
    found = set()
    for name, value in values.items():
        inner = leaves(value, f"{place}{name}.") if isinstance(value, dict) and place + name not in _WHOLE else set()
        found |= inner or {place + name}
    return found


_WHOLE = {"resources", "dashboard.labels"}  # used as they are, whatever is in them


def test_every_value_is_used_and_every_used_value_exists():
    text = "".join(each.read_text() for each in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([\w.]+)", text))
    assert used == leaves(VALUES)


def test_the_schema_names_the_values_that_exist():
    def described(schema: dict, place: str = "") -> set[str]:
        inner = {name: part for name, part in schema.get("properties", {}).items() if name != "global"}
        if not inner or place.rstrip(".") in _WHOLE:
            return {place.rstrip(".")}
        return {each for name, part in inner.items() for each in described(part, f"{place}{name}.")}

    assert described(SCHEMA) == leaves(VALUES)


def test_the_chart_installs_this_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
