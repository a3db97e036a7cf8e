import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import InstanceSpec
from slipway.config.host_policy import HostPolicy
from slipway.instances.plan import describe_plan, instance_specs, shared_cpus, threads_per_instance


def config(text=""):
    return text_format.Parse(f'name: "m" {text}', model_config_pb2.ModelConfig())


def names(text, gpus=0):
    return [spec.name for spec in instance_specs(config(text), gpus)]


def test_instances_are_named_as_triton_names_them():
    assert names("") == ["m_0"]
    assert names("instance_group { count: 2 kind: KIND_CPU }") == ["m_0_0", "m_0_1"]
    assert names('instance_group { name: "g" count: 1 } instance_group { count: 1 }') == ["g_0", "m_1_0"]


def test_instances_are_numbered_over_all_groups():
    specs = instance_specs(config("instance_group { count: 2 } instance_group { count: 1 }"), 0)
    assert [spec.index for spec in specs] == [0, 1, 2]


def test_a_gpu_group_runs_on_the_cpu_with_one_warning_where_there_is_no_gpu(caplog):
    specs = instance_specs(config("instance_group { count: 2 kind: KIND_GPU gpus: [0, 1] }"), 0)
    assert [(spec.kind, spec.device_id) for spec in specs] == [("CPU", 0)] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "model 'm': instance group 'm_0' requests a GPU; it runs on the CPU"
    ]


def test_a_gpu_group_has_its_count_on_each_of_its_gpus():
    specs = instance_specs(config("instance_group { count: 2 kind: KIND_GPU gpus: [1, 3] }"), 4)
    assert [(spec.kind, spec.device_id, spec.index) for spec in specs] == [
        ("GPU", 1, 0),
        ("GPU", 3, 1),
        ("GPU", 1, 2),
        ("GPU", 3, 3),
    ]


def test_a_model_group_leaves_the_device_to_the_model():
    assert [spec.kind for spec in instance_specs(config("instance_group { kind: KIND_MODEL }"), 2)] == ["MODEL"]


def test_passive_groups_take_no_requests():
    assert names('instance_group { name: "p" passive: true } instance_group { name: "a" }') == ["a_0"]


@pytest.mark.parametrize(
    ("text", "cpus", "threads"),
    [
        ("", 8, 8),
        ("instance_group { count: 3 }", 8, 2),
        ("instance_group { count: 16 }", 8, 1),
        ('parameters { key: "intra_op_thread_count" value { string_value: "5" } }', 8, 5),
        ('parameters { key: "INTRA_OP_THREAD_COUNT" value { string_value: "3" } }', 8, 3),
        ('parameters { key: "intra_op_thread_count" value { string_value: "0" } }', 8, 8),
    ],
)
def test_threads_are_the_instances_share_unless_the_config_sets_them(text, cpus, threads):
    assert threads_per_instance(config(text), cpus) == threads


def test_the_plan_is_one_line():
    specs = [InstanceSpec("a", 0, "CPU"), InstanceSpec("b", 1, "CPU"), InstanceSpec("c", 2, "GPU", 1)]
    assert describe_plan(specs, 4) == "2 x CPU + 1 x GPU 1, 4 threads each"
    assert describe_plan(specs[:1], 1) == "1 x CPU, 1 thread each"


def test_an_instance_has_the_cpus_of_its_groups_policy():
    policies = {"a": HostPolicy(frozenset({0, 1}), node=8000), "model": HostPolicy(frozenset({4}))}
    text = 'instance_group { count: 2 host_policy: "a" } instance_group { kind: KIND_MODEL } instance_group { }'
    specs = instance_specs(config(text), 0, policies=policies)
    assert [sorted(spec.cpus) for spec in specs] == [[0, 1], [0, 1], [4], []]
    assert describe_plan(specs, 1) == "3 x CPU + 1 x MODEL, 1 thread each, on CPUs 0-1 / 4 / any"


def test_instances_share_threads_on_their_cpus_unless_one_may_run_anywhere():
    groups = 'instance_group { host_policy: "a" } instance_group { kind: KIND_MODEL }'
    policies = {"a": HostPolicy(frozenset({0, 1})), "model": HostPolicy(frozenset({4}))}
    assert shared_cpus(instance_specs(config(groups), 0, policies=policies)) == {0, 1, 4}
    assert not shared_cpus(instance_specs(config(f"{groups} instance_group {{ }}"), 0, policies=policies))
