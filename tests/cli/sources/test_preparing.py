"""How sources get their names, what is refused before anything is converted, and what is found in the cache."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from slipway.cli.sources import converting
from slipway.cli.sources.cache import ConvertedCache, EntryRecord, HeldEntry, file_sizes
from slipway.cli.sources.converting import LocatedSource, find_converted
from slipway.cli.sources.kinds import Source, SourceKind
from slipway.cli.sources.links import LinkedModels
from slipway.cli.sources.preparing import check_names, named, prepared_sources
from slipway.cli.sources.request import ConversionRequest
from slipway.config.conversion_flags import ConversionFlags
from slipway.config.options import parse_options
from slipway.errors import SlipwayError
from tests.kits.repositories import add_identity

REPOSITORY = Source("models", SourceKind.REPOSITORY)
HUB = Source("owner/m", SourceKind.HUB, "m")
FILE = Source("graph.onnx", SourceKind.FILE, "graph")


def nothing() -> None:
    raise AssertionError("nothing is converted")


def test_names_are_for_the_converted_sources_in_their_order():
    assert [each.name for each in named([HUB, REPOSITORY, FILE], ["x"])] == ["x", "", "graph"]
    assert [each.name for each in named([REPOSITORY, HUB, FILE], ["x", "y"])] == ["", "x", "y"]


def test_more_names_than_converted_sources_are_refused():
    with pytest.raises(SlipwayError, match="--name is given 2 times, but 1 of the sources are converted"):
        named([REPOSITORY, HUB], ["x", "y"])


@pytest.mark.parametrize("name", ["../m", "a/b", "", "..", "$(id)", "a b", "a\x1b[31m"])
def test_a_name_that_is_not_a_models_is_refused_before_anything_else(name):
    with pytest.raises(SlipwayError, match="is not a model name"):
        named([FILE], [name])


def test_two_models_of_one_name_are_refused_with_both_sources(tmp_path):
    add_identity(tmp_path)
    with pytest.raises(SlipwayError, match=f"'{tmp_path}' and 'graph.onnx' both have a model 'identity'; --name"):
        check_names([("identity", "graph.onnx")], [tmp_path])
    with pytest.raises(SlipwayError, match="'a' and 'b' both have a model 'm'"):
        check_names([("m", "a"), ("m", "b")], [])
    check_names([("m", "a"), ("n", "b")], [tmp_path, tmp_path / "missing"])


def test_repositories_alone_are_served_as_they_are(tmp_path):
    add_identity(tmp_path)
    options = parse_options([str(tmp_path), "--model-repository=other"])
    with prepared_sources(options, nothing) as prepared:
        assert prepared.options is options
        assert not prepared.converted


def test_flags_of_a_conversion_without_one_are_named(tmp_path, caplog):
    add_identity(tmp_path)
    options = parse_options([str(tmp_path), "--precision=int8", "--fast"])
    with caplog.at_level(logging.WARNING), prepared_sources(options, nothing):
        pass
    assert caplog.messages == [f"--{flag} has no effect: none of the sources is converted" for flag in PLAIN]


PLAIN = ("precision", "fast")


def test_a_path_that_does_not_exist_is_reported_by_the_server_after_the_nearest(tmp_path, caplog):
    (tmp_path / "models").mkdir()
    options = parse_options([str(tmp_path / "modles")])
    with caplog.at_level(logging.WARNING), prepared_sources(options, nothing) as prepared:
        assert prepared.options.model_repository == (tmp_path / "modles",)
    assert caplog.messages == [f"'{tmp_path / 'modles'}' does not exist; did you mean '{tmp_path / 'models'}'?"]


@pytest.fixture
def cache(tmp_path: Path) -> ConvertedCache:
    made = ConvertedCache(tmp_path / "converted")
    made.open()
    return made


@pytest.fixture
def fetched(monkeypatch) -> list[str]:
    """The ids that were looked up on the hub, whose newest revision is r2."""
    ids: list[str] = []

    def fetch(source: Source) -> LocatedSource:
        ids.append(source.text)
        return LocatedSource(Path("snapshots/r2"), f"{source.text} at revision r2", "r2")

    monkeypatch.setattr(converting, "_fetch", fetch)
    return ids


def keep(cache: ConvertedCache, request: ConversionRequest, content: str) -> Path:
    held = cache.hold(request.entry_name(content))
    (held.models / "m/1").mkdir(parents=True)
    (held.models / "m/1/model.onnx").write_bytes(bytes(9))
    held.finish(EntryRecord(request.hub, content, request, ("m",), file_sizes(held.models), "onnxruntime fp32", ()))
    held.release()
    return held.directory


def test_the_hub_is_asked_once(cache, fetched):
    request = ConversionRequest.of(HUB, ConversionFlags())
    assert isinstance(find_converted(HUB, request, cache), LocatedSource)
    assert fetched == ["owner/m"]
    keep(cache, request, "r1")
    found = find_converted(HUB, request, cache)
    assert isinstance(found, HeldEntry)
    assert found.record is not None
    assert found.record.content == "r1"
    assert fetched == ["owner/m"]


def test_after_its_entry_was_removed_the_newest_revision_is_fetched(cache, fetched):
    request = ConversionRequest.of(HUB, ConversionFlags())
    shutil.rmtree(keep(cache, request, "r1"))
    found = find_converted(HUB, request, cache)
    assert isinstance(found, LocatedSource)
    assert (found.content, fetched) == ("r2", ["owner/m"])


def test_a_damaged_entry_of_the_hub_is_fetched_again(cache, fetched):
    request = ConversionRequest.of(HUB, ConversionFlags())
    (keep(cache, request, "r1") / "models/m/1/model.onnx").write_bytes(b"")
    assert isinstance(find_converted(HUB, request, cache), LocatedSource)
    assert fetched == ["owner/m"]
    assert list(cache.root.glob("*/lock")) == []


def test_links_change_from_one_model_to_the_other(tmp_path):
    for name in ("exact", "faster"):
        (tmp_path / name / "m").mkdir(parents=True)
        (tmp_path / name / "m/config.pbtxt").write_text(name)
    links = LinkedModels()
    for name in ("exact", "faster", "exact"):
        links.point(tmp_path / name, ["m"])
        assert (links.repository / "m/config.pbtxt").read_text() == name
        assert [path.name for path in links.repository.iterdir()] == ["m"]
    links.remove()
    assert not links.repository.exists()
    assert (tmp_path / "exact/m/config.pbtxt").is_file()
