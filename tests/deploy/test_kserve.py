"""KServe's manifests: only fields that KServe knows, with the server's flags, on the ports that it expects."""

from __future__ import annotations

import pytest
import yaml

from slipway.config.options import parse_options
from tests.deploy.test_chart import paths
from tests.deploy.test_image import DEPLOY

RUNTIME, SERVICE = (
    yaml.safe_load((DEPLOY / "kserve" / name).read_text()) for name in ("servingruntime.yaml", "inferenceservice.yaml")
)
(CONTAINER,) = RUNTIME["spec"]["containers"]
SPEC = {  # ServingRuntimeSpec and InferenceServiceSpec of KServe, as far as the files use them
    "annotations", "supportedModelFormats", "supportedModelFormats.name", "supportedModelFormats.version",
    "supportedModelFormats.autoSelect", "protocolVersions", "multiModel", "containers", "volumes",
}  # fmt: skip
PREDICTOR = {
    "predictor", "predictor.terminationGracePeriodSeconds", "predictor.model", "predictor.model.runtime",
    "predictor.model.modelFormat", "predictor.model.modelFormat.name", "predictor.model.protocolVersion",
    "predictor.model.storageUri",
}  # fmt: skip


def options():
    command, *arguments = CONTAINER["args"]
    assert command == "serve"
    return parse_options(arguments, {})


def test_the_runtime_has_only_fields_of_kserve():
    assert (RUNTIME["apiVersion"], RUNTIME["kind"]) == ("serving.kserve.io/v1alpha1", "ServingRuntime")
    own = {
        place for place in paths(RUNTIME["spec"]) if not place.startswith(("containers.", "volumes.", "annotations."))
    }
    assert own == SPEC
    assert (SERVICE["apiVersion"], SERVICE["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert paths(SERVICE["spec"]) == PREDICTOR


def test_the_container_is_one_of_a_pod_of_kubernetes():
    kubernetes = pytest.importorskip("kubernetes_validate")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    pod["spec"] = {"containers": RUNTIME["spec"]["containers"], "volumes": RUNTIME["spec"]["volumes"]}
    kubernetes.validate(pod, "1.37", strict=True)


def test_kserve_finds_the_models_the_ports_and_the_metrics():
    served = options()
    assert [str(path) for path in served.model_repository] == ["/mnt/models"]
    (port,) = CONTAINER["ports"]
    probes = [CONTAINER[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")]
    assert {port["containerPort"], *(probe["port"] for probe in probes)} == {served.http_port}
    assert [probe["path"] for probe in probes] == ["/v2/health/ready", "/v2/health/live"]
    annotations = RUNTIME["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == str(served.metrics_port)
    assert annotations["prometheus.kserve.io/path"] == "/metrics"
    assert served.grpc_port == 9000
    assert RUNTIME["spec"]["protocolVersions"] == ["v2", "grpc-v2"]


def test_the_example_asks_for_the_runtime_and_gives_it_time_to_end():
    predictor = SERVICE["spec"]["predictor"]
    model = predictor["model"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert model["modelFormat"]["name"] in {each["name"] for each in RUNTIME["spec"]["supportedModelFormats"]}
    assert model["protocolVersion"] in RUNTIME["spec"]["protocolVersions"]
    served = options()
    assert predictor["terminationGracePeriodSeconds"] == served.drain_delay_secs + served.exit_timeout_secs + 10
