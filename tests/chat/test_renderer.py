"""Chat templates are evaluated as in transformers, and one that runs away or breaks out costs only its own request."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psutil
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from slipway.chat import template_process
from slipway.chat.renderer import (
    RenderLimits,
    TemplateRenderer,
    begin_rendering,
    end_rendering,
    shared_renderer,
)
from slipway.errors import Code, SlipwayError
from tests.kits.chat_models import ENDLESS, HOSTILE, TEMPLATE, TOOLS_TEMPLATE

USER = {"role": "user", "content": "<Grüße> & 東京"}
TOOL = {"type": "function", "function": {"name": "distance", "description": "größer"}}


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateRenderer]:
    made = TemplateRenderer(RenderLimits(seconds=1.0, characters=1000))
    yield made
    made.close()


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE,
        TOOLS_TEMPLATE,
        "{{ messages | tojson(indent=2) }}",
        "{% for m in messages %}{% generation %}{% set x = m.role %}{{ x }}{% endgeneration %}{{ x }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content[:3] }}{% endfor %}",
        "{{ dict(a=1) }}{{ bos_token }}{{ strftime_now('%%') }}",
        "  {% if true %}\n  x\n  {% endif %}\n",
    ],
)
def test_a_template_gives_the_text_that_it_gives_in_transformers(renderer, template):
    messages = [USER, {"role": "assistant", "content": "ok"}, USER]
    settings = {"tools": [TOOL], "documents": None, "add_generation_prompt": True, "bos_token": "<s>"}
    (expected,), _ = render_jinja_template([messages], chat_template=template, **settings)
    assert renderer.render(template, {"messages": messages, **settings}) == expected


@pytest.mark.parametrize(
    ("template", "code", "message"),
    [
        ("{{ raise_exception('only one turn') }}", Code.INVALID_ARG, "refuses this conversation: only one turn"),
        (
            "{{ messages[7].content }}",
            Code.INVALID_ARG,
            "cannot handle this conversation: list object",
        ),
        ("{{ 1 + 'a' }}", Code.INVALID_ARG, "cannot handle this conversation: unsupported operand"),
        ("{{ 'x' * 2000 }}", Code.INVALID_ARG, "its text has more than 1000 characters"),
        ("{% for x in range(999) %}ab{% endfor %}", Code.INVALID_ARG, "its text has more than 1000 characters"),
        ("{{ '\\ud800' }}", Code.INVALID_ARG, "cannot handle this conversation"),
        ("{% if %}", Code.UNSUPPORTED, "is not valid: Expected an expression"),
        (HOSTILE, Code.UNSUPPORTED, "is not valid: access to attribute '__class__'"),
        ("{{ cycler.__init__.__globals__ }}", Code.UNSUPPORTED, "access to attribute '__init__'"),
        ("{{ messages.append(1) }}", Code.UNSUPPORTED, "access to attribute 'append' of 'list'"),
        ("{{ namespace(__class__=1) }}", Code.UNSUPPORTED, "a namespace cannot have the attribute '__class__'"),
        ("{{ lipsum }}{{ lipsum.x }}", Code.INVALID_ARG, "'lipsum' is undefined"),
        ("{{ 'x' * 10 ** 10 }}", Code.INTERNAL, "needs more memory than it may use"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", Code.INVALID_ARG, "maximum recursion depth"),
        ("{{ range(10 ** 9) | list }}", Code.INVALID_ARG, "Range too big"),
    ],
)
def test_what_a_template_does_wrong_is_one_typed_error(renderer, template, code, message):
    with pytest.raises(SlipwayError) as caught:
        renderer.render(template, {"messages": [USER]})
    assert caught.value.code is code
    assert message in caught.value.message
    assert renderer.render("{{ messages | length }}", {"messages": [USER]}) == "1"


@pytest.mark.parametrize("template", [ENDLESS, "{{ 7 ** (9 ** 9) }}"])
def test_a_template_that_does_not_end_is_stopped_while_others_are_answered(renderer, template):
    caught: list[SlipwayError] = []

    def run() -> None:
        with pytest.raises(SlipwayError) as error:
            renderer.render(template, {})
        caught.append(error.value)

    thread = threading.Thread(target=run)
    thread.start()
    assert [renderer.render("{{ n }}", {"n": n}) for n in range(3)] == ["0", "1", "2"]
    thread.join(timeout=60)
    assert caught[0].code is Code.INTERNAL
    assert "did not finish within 1 s" in caught[0].message


def test_the_process_has_no_variables_of_the_server_but_those_that_python_needs(renderer, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    fresh = TemplateRenderer()
    fresh.render("{{ 1 }}", {})
    (process,) = fresh._idle
    with open(f"/proc/{process._child.pid}/environ", "rb") as file:  # noqa: PTH123  not a regular file
        assert b"SECRET_TOKEN" not in file.read()
    fresh.close()


def test_variables_that_are_nested_too_deeply_are_refused_before_a_process_gets_them(renderer):
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(SlipwayError, match="nested too deeply") as caught:
        renderer.render("{{ extra }}", {"extra": nested})
    assert caught.value.code is Code.INVALID_ARG
    while nested:  # level by level: Python would take them down in one recursion
        nested = nested.pop()


def test_closing_ends_a_template_at_work():
    renderer = TemplateRenderer(RenderLimits(seconds=600))
    failures: list[SlipwayError] = []

    def work() -> None:
        try:
            renderer.render(ENDLESS, {})
        except SlipwayError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():  # the process may not have started yet
        renderer.close()
        thread.join(0.1)
    assert [error.code for error in failures] == [Code.INTERNAL]


def test_the_processes_end_with_the_last_server_and_start_again_with_the_next():
    before = template_processes()
    for _ in range(2):
        begin_rendering()
        begin_rendering()
        assert shared_renderer().render("x", {}) == "x"
        end_rendering()
        assert template_processes() > before
        end_rendering()
        assert template_processes() == before


def template_processes() -> set[int]:
    """The children of this process that evaluate templates."""
    children = psutil.Process().children()
    return {child.pid for child in children if child.cmdline()[-1:] == [template_process.__file__]}
