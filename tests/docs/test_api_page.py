"""docs/api.md lists every route, call, status and public name, with the method and group that the server has for it."""

from __future__ import annotations

import re

import pytest
from tritonclient.grpc import service_pb2

import slipway
from slipway.rest.app import find
from slipway.rest.openai.routes import find_openai
from slipway.rest.page.files import read_files
from slipway.rest.page.page import Page
from slipway.rest.page.routes import find_page
from slipway.rest.response import HTTP_STATUS
from slipway.rpc.protection import RPC_GROUPS
from tests.docs.pages import DOCS

TEXT = (DOCS / "api.md").read_text(encoding="utf-8")
ROUTES = re.findall(r"^\| ([A-Z, ]+) \| `(/[^`]+)` \| [^|]+ \|(?: `([a-z-]+)` \|)?$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("methods", "route", "group"), ROUTES, ids=[route for _, route, _ in ROUTES])
def test_a_route_of_the_page_is_one_of_the_server(methods, route, group):
    match = find(route.encode()) or find_openai(route.encode()) or find_page(route.encode(), Page(read_files()))
    assert match is not None
    assert {method.encode() for method in methods.split(", ")} == {match.method, match.other} - {b""}
    assert group in ("", match.group)


def test_no_route_of_the_tables_is_missing():
    from slipway.rest import app
    from slipway.rest.openai import routes
    from slipway.rest.page.routes import ROUTES as OF_THE_PAGE

    shown = {route for _, route, _ in ROUTES}
    models = {f"/v2/models/NAME/{name}".rstrip("/") for name in app._MODEL}
    actions = {f"/v2/repository/models/NAME/{name}" for name in app._REPOSITORY}
    assert shown >= {*app._FIXED, *models, *actions, *(path.decode() for path in (*routes._ROUTES, *OF_THE_PAGE))}


def test_every_call_is_in_the_row_of_its_group():
    rows = dict(re.findall(r"^\| (`[A-Z][^|]+`) \| `([a-z-]+)` \|$", TEXT, re.MULTILINE))
    shown = {name: group for names, group in rows.items() for name in re.findall(r"\w+", names)}
    assert shown == RPC_GROUPS
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert shown.keys() == {method.name for method in service.methods} | {"Check"}


def test_codes_have_their_status():
    rows = re.findall(r"^\| (\d{3})[\d, ]* \| ([A-Z_, ]+) \|", TEXT, re.MULTILINE)
    shown = {name: int(status) for status, names in rows for name in names.split(", ")}
    assert shown == {code.name: status for code, status in HTTP_STATUS.items()}


def test_every_public_name_of_the_package_is_there():
    section = TEXT.partition("## Python")[2]
    names = set(re.findall(r"`([A-Z]\w+)`", section))
    assert names == {name for name in slipway.__all__ if name[0].isupper()}
