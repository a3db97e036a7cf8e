"""The registry of shared memory regions: what may be registered, found and unregistered, in Triton's words."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import product

import pytest

from slipway.core.budget import Budget
from slipway.errors import Code, SlipwayError
from slipway.regions.registry import DISABLED, Regions, default_limit

PAGE = 4096
SIZE_MAX = 2**64 - 1


def refused(action, *arguments):
    with pytest.raises(SlipwayError) as caught:
        action(*arguments)
    return caught.value.code, caught.value.message


def names(regions):
    return [region.name for region in regions.status("")]


def test_a_region_is_listed_as_it_was_registered(regions):
    regions.register("b", "//data", PAGE, 8)
    regions.register("a", "data", 0, 16)
    found = [(each.name, each.key, each.offset, each.byte_size) for each in regions.status("")]
    assert found == [("a", "data", 0, 16), ("b", "//data", PAGE, 8)]
    assert [each.name for each in regions.status("b")] == ["b"]
    assert refused(regions.status, "c") == (Code.NOT_FOUND, "Unable to find system shared memory region: 'c'")


def test_a_name_is_registered_once(regions):
    regions.register("a", "/data", 0, 8)
    expected = (Code.ALREADY_EXISTS, "shared memory region 'a' already in manager")
    assert refused(regions.register, "a", "/data", 0, 8) == expected
    regions.unregister("a")
    regions.register("a", "/data", 0, 8)


def test_a_region_needs_a_name(regions):
    expected = "'region name' is necessary to register {} shared memory region"
    assert refused(regions.register, "", "/data", 0, 8) == (Code.INVALID_ARG, expected.format("system"))
    assert refused(regions.register_cuda, "") == (Code.INVALID_ARG, expected.format("cuda"))


INVALID = "failed to register shared memory region 'r': invalid args"
UNMAPPABLE = "failed to register shared memory region 'r': unable to process address spaceInvalid argument"


@pytest.mark.parametrize(
    ("offset", "size", "text"),
    [
        (0, 2 * PAGE + 1, INVALID),
        (1, 2 * PAGE, INVALID),
        (2 * PAGE, 1, INVALID),
        (2 * PAGE + 1, 0, INVALID),
        (2**64 - 32, 32, INVALID),
        (0, SIZE_MAX, INVALID),
        (SIZE_MAX, SIZE_MAX, INVALID),
        (0, 0, UNMAPPABLE),
        (2 * PAGE, 0, UNMAPPABLE),
        (64, 8, UNMAPPABLE),
    ],
)
def test_a_region_lies_within_its_file(regions, offset, size, text):
    assert refused(regions.register, "r", "/data", offset, size) == (Code.INVALID_ARG, text)
    assert names(regions) == []


def test_only_a_plain_file_under_its_own_name_is_shared_memory(memory, regions):
    (memory / "link").symlink_to(memory / "data")
    (memory / "directory").mkdir()
    os.mkfifo(memory / "pipe")
    (memory / "secret").write_bytes(bytes(PAGE))
    (memory / "secret").chmod(0)
    for key in ("/absent", "/link", "/directory", "../data", f"../{memory.name}/data"):
        expected = (Code.INTERNAL, f"Unable to open shared memory region: '{key}'")
        assert refused(regions.register, "r", key, 0, 8) == expected
    assert refused(regions.register, "r", "/pipe", 0, 8) == (
        Code.INTERNAL,
        "Invalid shared memory region: '/pipe'",
    )
    if os.geteuid():  # root may open everything
        assert refused(regions.register, "r", "/secret", 0, 8)[0] is Code.INTERNAL
    assert names(regions) == []


def test_a_refused_region_costs_no_descriptor(regions):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for key, size in (("/data", 0), ("/data", 1 << 40), ("/absent", 8), ("/", 8)):
        refused(regions.register, "r", key, 0, size)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_registry_is_bounded(regions):
    for name in "abc":
        regions.register(name, "/data", 0, 8)
    assert refused(regions.register, "d", "/data", 0, 8) == (
        Code.UNAVAILABLE,
        "3 shared memory regions are registered, which is the limit: unregister one",
    )
    regions.unregister("a")
    regions.register("d", "/data", 0, 8)
    assert names(regions) == ["b", "c", "d"]
    assert 0 < default_limit() <= 1024


def test_unregistering_nothing_succeeds(regions):
    regions.unregister("absent")
    regions.unregister("")
    regions.unregister_cuda()
    assert names(regions) == []


@pytest.mark.parametrize(
    ("offset", "size", "text"),
    [
        (16, 0, "Invalid offset for shared memory region: 'r'"),
        (2**64 - 32, 8, "Invalid offset for shared memory region: 'r'"),
        (0, 17, "Invalid offset + byte size for shared memory region: 'r'"),
        (15, 2, "Invalid offset + byte size for shared memory region: 'r'"),
        (0, SIZE_MAX, "Invalid offset + byte size for shared memory region: 'r'"),
        (
            8,
            2**64 - 8,
            (
                f"Integer overflow detected: byte_size ({2**64 - 8}) + offset (8) exceeds maximum value ({SIZE_MAX}) "
                "for region 'r'"
            ),
        ),
    ],
)
def test_a_place_lies_within_its_region(regions, offset, size, text):
    regions.register("r", "/data", 0, 16)
    assert refused(regions.find, "r", offset, size) == (Code.INVALID_ARG, text)


def test_a_place_in_no_region_is_not_found(regions):
    assert refused(regions.find, "r", 0, 8) == (Code.NOT_FOUND, "Unable to find shared memory region: 'r'")


def test_gpu_regions_are_refused_and_never_found(regions):
    assert refused(regions.register_cuda, "g") == (
        Code.INVALID_ARG,
        "failed to register CUDA shared memory region: 'g', GPUs not supported",
    )
    regions.check_cuda_status("")
    assert refused(regions.check_cuda_status, "g") == (
        Code.NOT_FOUND,
        "Unable to find cuda shared memory region: 'g'",
    )
    regions.register("g", "/data", 0, 8)
    assert refused(regions.check_cuda_status, "g") == (
        Code.NOT_FOUND,
        "The region named 'g' is registered as system shared memory, not CUDA shared memory",
    )


def test_without_permission_there_are_no_regions(memory):
    regions = Regions(directory=memory)
    calls = (
        (regions.register, "r", "/data", 0, 8),
        (regions.register, "", "", 0, 0),
        (regions.unregister, "r"),
        (regions.register_cuda, "r"),
        (regions.unregister_cuda,),
        (regions.find, "r", 0, 8),
    )
    for action, *arguments in calls:
        assert refused(action, *arguments) == (Code.UNSUPPORTED, DISABLED)
    assert names(regions) == []
    regions.check_system()


def test_a_system_without_shared_memory_files_cannot_allow_them(tmp_path):
    absent = tmp_path / "absent"
    assert refused(Regions(allowed=True, directory=absent).check_system) == (
        Code.UNSUPPORTED,
        f"--allow-client-shm needs shared memory in {absent}, which does not exist here",
    )


def test_a_region_in_use_stays_until_its_last_request_ends(regions):
    regions.register("r", "/data", 0, 16)
    regions.register("s", "/data", 0, 16)
    place = regions.find("r", 0, 8)
    regions.begin([place, place], 0)
    regions.unregister("")
    assert names(regions) == ["r"]
    later = regions.find("r", 8, 8)  # a request that comes meanwhile
    regions.begin([later], 0)
    regions.end([place, place], 0)
    assert names(regions) == ["r"]
    assert refused(regions.register, "r", "/data", 0, 8)[0] is Code.ALREADY_EXISTS
    regions.end([later], 0)
    assert names(regions) == []


def test_a_request_of_a_region_that_is_gone_does_not_remove_its_successor(regions):
    regions.register("r", "/data", 0, 16)
    stale = regions.find("r", 0, 8)  # found, but not in use so far
    regions.unregister("r")
    regions.register("r", "/data", 0, 16)
    regions.begin([stale], 0)
    regions.end([stale], 0)
    assert names(regions) == ["r"]


def test_copies_count_in_the_budget_of_all_connections(regions):
    regions.register("r", "/data", 0, 16)
    regions.budget = Budget(10)
    place = regions.find("r", 0, 8)
    regions.begin([place], 8)
    code, text = refused(regions.begin, [place], 8)
    assert (code, "as its memory allows" in text) == (Code.UNAVAILABLE, True)
    regions.end([place], 8)
    assert (regions.budget.held, place.region.uses) == (0, 0)


EDGES = (0, 1, 15, 16, 17, 2**63, 2**64 - 17, 2**64 - 16, 2**64 - 1)


def test_every_place_that_is_found_lies_within_its_region(regions):
    regions.register("r", "/data", 0, 16)
    found = set()
    for offset, size in product(EDGES, EDGES):
        with suppress(SlipwayError):
            place = regions.find("r", offset, size)
            found.add((place.offset, place.size))
    assert found == {(offset, size) for offset, size in product((0, 1, 15), EDGES) if offset + size <= 16}
