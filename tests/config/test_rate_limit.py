"""The rate limiter's flags and fields, read as tritonserver reads them."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.config.options import parse_options
from slipway.config.rate_limit import Claim, ResourceCount, ResourceKey, claim_of, is_limited, rate_limiter_problems
from slipway.errors import SlipwayError
from slipway.problems import Rule

FORMAT = "--rate-limit-resource option format is '<resource_name>:<count>:<device>' or '<resource_name>:<count>'. Got "


def config(*groups):
    text = "".join(f"instance_group {{ {group} }}\n" for group in groups)
    return text_format.Parse(text, model_config_pb2.ModelConfig(name="m"))


def limiter(*resources, more=""):
    listed = "".join(f"resources {{ {resource} }} " for resource in resources)
    return f"rate_limiter {{ {listed} {more} }}"


def test_the_flags_are_read():
    words = ["--rate-limit=EXECUTION_COUNT", "--rate-limit-resource=R1:4", "--rate-limit-resource", "R2:5:1"]
    options = parse_options(["models", *words])
    assert options.rate_limit == "execution_count"
    assert options.rate_limit_resource == (ResourceCount("R1", 4), ResourceCount("R2", 5, 1))
    assert options.warnings == ()


def test_the_rate_limiter_is_off_by_default_and_counts_alone_are_named():
    assert parse_options(["models"]).rate_limit == "off"
    options = parse_options(["models", "--rate-limit=off", "--rate-limit-resource=R:1"])
    assert options.warnings == ("--rate-limit-resource has no effect without --rate-limit=execution_count",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--rate-limit=fast", "invalid argument for --rate-limit"),
        ("--rate-limit=", "invalid argument for --rate-limit"),
        ("--rate-limit-resource=R", FORMAT + "R"),
        ("--rate-limit-resource=R:1:2:3", FORMAT + "R:1:2:3"),
        ("--rate-limit-resource=R:x", "Invalid option value. Got x"),
        ("--rate-limit-resource=R:", "Invalid option value. Got "),
        ("--rate-limit-resource=R:1:gpu", "Invalid option value. Got gpu"),
        ("--rate-limit-resource=R:99999999999", "out of bound. Got 99999999999"),
        ("--rate-limit-resource=R:-1", "out of bound. Got -1"),
        ("--rate-limit-resource=R:1:-1", "out of bound. Got -1"),
    ],
)
def test_a_mistake_is_named(given, message):
    with pytest.raises(SlipwayError) as caught:
        parse_options(["models", given])
    assert message in caught.value.message


def test_an_instance_needs_the_resources_of_its_device_and_the_global_ones():
    group = config(limiter('name: "R" count: 4', 'name: "G" count: 2 global: true', more="priority: 3")).instance_group[
        0
    ]
    assert claim_of(group, 1) == Claim(((ResourceKey("R", 1), 4), (ResourceKey("G"), 2)), 3)


def test_without_a_priority_it_is_one():
    assert claim_of(config(limiter()).instance_group[0], 0) == Claim((), 1)


def test_of_a_resource_listed_twice_the_last_count_holds():
    group = config(limiter('name: "R" count: 4', 'name: "R" count: 2')).instance_group[0]
    assert claim_of(group, 0).needs == ((ResourceKey("R", 0), 2),)


def test_a_resource_that_is_not_counted_is_not_taken():
    assert claim_of(config(limiter('name: "R"')).instance_group[0], 0).taken == ()


@pytest.mark.parametrize(
    ("groups", "limited"),
    [
        (["count: 1"], False),
        ([limiter(more="priority: 1")], False),
        ([limiter(more="priority: 2")], True),
        (["count: 1", limiter('name: "R" count: 1')], True),
        (["count: 1", limiter('name: "R" count: 1') + " passive: true"], False),
    ],
    ids=["nothing", "the default", "priority", "resource", "passive"],
)
def test_only_models_with_resources_or_priorities_are_limited(groups, limited):
    assert is_limited(config(*groups)) is limited


def test_resources_that_cannot_be_used_as_listed_are_found():
    found = list(
        rate_limiter_problems(
            config(
                limiter('name: "R" count: 1', 'name: "R" count: 2', 'name: "S"'),
                limiter('name: "R" count: 1 global: true', 'name: "T" count: 1'),
            )
        )
    )
    assert [(problem.rule, problem.path[1], problem.path[-1]) for problem in found] == [
        (Rule.WITHOUT_EFFECT, 0, 0),
        (Rule.WITHOUT_EFFECT, 0, 2),
        (Rule.RATE_LIMITER, 1, 0),
    ]
