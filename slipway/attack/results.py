"""Results as a table for people, as JSON for programs, and the groups as a table of documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from slipway.attack.bounds import MIB
from slipway.attack.group import AttackGroup, GroupResult, HeldState
from slipway.core.table import render_table

_HEADERS = ("no.", "group", "result", "tried", "health ms\np99/worst", "memory MiB\npeak/kept")  # fits 80 columns


def results_table(results: Sequence[GroupResult], width: int | None = None) -> str:
    """Return the results with one row per group."""
    return render_table(_HEADERS, [_row(each) for each in results], width)


def _row(result: GroupResult) -> tuple[str, ...]:
    found = result.neighbours
    latency = f"{found.p99_ms:.0f}/{found.worst_ms:.0f}" if found else "-"
    known = found is not None and found.peak_mib is not None and found.kept_mib is not None
    memory = f"{found.peak_mib:+.0f}/{found.kept_mib:+.0f}" if found and known else "-"
    tried = str(result.tried) if result.tried == result.planned else f"{result.tried}/{result.planned}"
    return str(result.group.number), result.group.name, result.state.value, tried, latency, memory


def failure_lines(results: Sequence[GroupResult]) -> list[str]:
    """Return a line for each thing that did not hold, and for each group that was skipped."""
    return [
        f"{each.group.number} {each.group.name}{': skipped' if each.state is HeldState.SKIPPED else ''}: {line}"
        for each in results
        if each.state is not HeldState.HELD
        for line in each.lines
    ]


def summary(results: Sequence[GroupResult]) -> str:
    """Return the totals in one line."""
    counts = {state: sum(each.state is state for each in results) for state in HeldState}
    return f"{counts[HeldState.HELD]} held, {counts[HeldState.NOT_HELD]} not held, {counts[HeldState.SKIPPED]} skipped"


def results_document(results: Sequence[GroupResult]) -> str:
    """Return the results as JSON; what was not measured is null."""
    held = not any(each.state is HeldState.NOT_HELD for each in results)
    return json.dumps({"held": held, "groups": [_entry(each) for each in results]}, indent=2)


def _entry(result: GroupResult) -> dict[str, Any]:
    found = result.neighbours
    return {
        "number": result.group.number,
        "name": result.group.name,
        "result": result.state.value.lower(),
        "lines": list(result.lines),
        "tried": result.tried,
        "planned": result.planned,
        "seconds": round(result.seconds, 3),
        "sent_mib": round(result.sent / MIB, 3),
        "health_checks": found.checks if found else None,
        "health_p99_ms": round(found.p99_ms, 3) if found else None,
        "health_worst_ms": round(found.worst_ms, 3) if found else None,
        "memory_peak_mib": None if found is None or found.peak_mib is None else round(found.peak_mib, 1),
        "memory_kept_mib": None if found is None or found.kept_mib is None else round(found.kept_mib, 1),
    }


def groups_markdown(groups: Sequence[AttackGroup]) -> str:
    """Return the groups as a Markdown table."""
    lines = ["| No. | Group | Tries | Reason | Right is |", "|---|---|---|---|---|"]
    lines += [f"| {each.number} | `{each.name}` | {each.tries} | {each.reason} | {each.judged} |" for each in groups]
    return "\n".join(lines)


def groups_table(groups: Sequence[AttackGroup], width: int | None = None) -> str:
    """Return the groups as a table for a terminal."""
    return render_table(
        ("no.", "group", "tries"), [(str(each.number), each.name, each.tries) for each in groups], width
    )
