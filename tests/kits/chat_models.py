"""A tiny GPT-2 that knows conversations: random weights, and chat templates of two names."""

from __future__ import annotations

from pathlib import Path

from tests.kits.generators import write_generator

TEMPLATE = """\
{%- for message in messages %}
{%- if message.role not in ("system", "user", "assistant", "tool") %}{{ raise_exception("unknown role") }}{% endif -%}
[{{ message.role }}] {{ message.content }}
{% endfor -%}
{%- if refuse is defined %}{{ raise_exception("told to " + refuse) }}{% endif -%}
{%- if add_generation_prompt %}[assistant]{% endif -%}
"""
TOOLS_TEMPLATE = "{% for tool in tools %}{{ tool.function.name }} {{ tool | tojson }}\n{% endfor %}" + TEMPLATE
# What no template may do: reach for Python's own objects, and go on for ever.
HOSTILE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def write_chat_model(directory: Path, **others: str) -> Path:
    """Write the checkpoint; `others` are more templates by name."""
    write_generator(directory, "gpt2", n_positions=512)
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    more = directory / "additional_chat_templates"
    more.mkdir()
    for name, template in {"tool_use": TOOLS_TEMPLATE, **others}.items():
        (more / f"{name}.jinja").write_text(template)
    return directory
