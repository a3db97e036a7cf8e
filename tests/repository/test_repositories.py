"""Several repositories as one, with and without namespaces."""

from __future__ import annotations

import pytest

from slipway.core.model_id import ModelId
from slipway.repository.repositories import Repositories


@pytest.fixture
def places(tmp_path):
    """Two repositories: both have `m`, the second one has `n`."""
    for model in ("one/m", "two/m", "two/n"):
        (tmp_path / model / "1").mkdir(parents=True)
    (tmp_path / "two" / "notes").mkdir()
    return [tmp_path / "one", tmp_path / "two"]


def test_without_namespaces_a_model_of_two_repositories_is_a_duplicate(places):
    found = Repositories(places).known()
    assert found.models == {ModelId("", "m"): places[0] / "m", ModelId("", "n"): places[1] / "n"}
    assert found.duplicates == {ModelId("", "m")}
    assert [folder for folder, _ in found.strays] == ["notes"]


def test_with_namespaces_each_repository_has_its_own(places):
    one, two = map(str, places)
    found = Repositories(places, namespaced=True).known()
    assert found.models == {
        ModelId(one, "m"): places[0] / "m",
        ModelId(two, "m"): places[1] / "m",
        ModelId(two, "n"): places[1] / "n",
    }
    assert list(found.models) == sorted(found.models)
    assert found.duplicates == frozenset()


def test_a_name_stands_for_every_model_that_has_it(places):
    plain, namespaced = Repositories(places), Repositories([*places, places[0]], namespaced=True)
    one, two = map(str, places)
    assert plain.named("m") == [ModelId("", "m")]
    assert plain.named("absent") == [ModelId("", "absent")]
    assert namespaced.named("m") == [ModelId(one, "m"), ModelId(two, "m")]
    assert namespaced.named("n") == [ModelId(two, "n")]
    assert namespaced.named("absent") == []


def test_a_model_is_looked_for_in_its_namespace_only(places):
    plain, namespaced = Repositories(places), Repositories(places, namespaced=True)
    assert plain.find(ModelId("", "m")) == [places[0] / "m", places[1] / "m"]
    assert namespaced.find(ModelId(str(places[1]), "m")) == [places[1] / "m"]
    assert namespaced.find(ModelId(str(places[0]), "n")) == []
    assert namespaced.find(ModelId("", "m")) == []


def test_a_path_that_is_a_models_directory_is_a_namespace_too(places):
    place = places[1] / "m"
    (place / "config.pbtxt").write_text("")
    repositories = Repositories([places[0], place], namespaced=True)
    assert repositories.named("m") == [ModelId(str(places[0]), "m"), ModelId(str(place), "m")]
    assert repositories.find(ModelId(str(place), "m")) == [place]


def test_an_unreadable_repository_is_reported_and_the_others_are_not_affected(places):
    found = Repositories([places[0] / "gone", *places], namespaced=True).known()
    assert [repository for repository, _ in found.unreadable] == [str(places[0] / "gone")]
    assert len(found.models) == 3
