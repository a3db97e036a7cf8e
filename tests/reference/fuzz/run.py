"""Look for cases that the servers answer differently without a reason, and make each as small as it can be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from tests.reference.differences import FORESEEN
from tests.reference.fuzz.cases import Case, whole_case
from tests.reference.fuzz.judge import Difference, compare
from tests.reference.fuzz.servers import Servers, shown


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that differs without a reason, shrunk, and the first step in which it does."""

    case: Case
    difference: Difference

    def __str__(self) -> str:
        changes = ", ".join(self.case.changes) or "none"
        return f"{self.case}   changes: {changes}\n  {self.difference}"


@dataclass(slots=True)
class Findings:
    """What a run found: findings by group, how often each, the intended differences seen, the reference's deaths."""

    cases: int = 0
    differing: int = 0
    seconds: float = 0.0
    first: dict[str, Finding] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    deaths: list[Case] = field(default_factory=list)

    @property
    def unseen(self) -> list[str]:
        """The intended differences that never occurred."""
        return [row.name for row in FORESEEN if row.name not in self.seen]

    def lines(self) -> Iterator[str]:
        """Yield the summary: each group by its first case, then what is intended, then figures."""
        for group, number in self.count.most_common():
            yield f"{number} x {self.first[group].case}: {group}"
        for case in self.deaths:
            yield f"the reference died of {case} ({', '.join(case.changes)})"
        if self.seen:
            yield "intended: " + ", ".join(f"{name} {number}" for name, number in self.seen.most_common())
        if self.unseen:
            yield "intended, but never seen: " + ", ".join(self.unseen)
        rate = self.cases / self.seconds if self.seconds else 0
        yield (
            f"{self.cases} cases in {self.seconds:.0f} s ({rate:.0f}/s): {self.differing} differ, of which "
            f"{sum(self.count.values())} without a reason, in {len(self.count)} groups"
        )


def look(
    servers: Servers, case: Case, seen: Counter[str] | None = None, *, smallest: bool = False
) -> Difference | None:
    """Run a case; return its first difference without a reason, or None. Count the intended ones in `seen`.

    Only where every change is known to be needed do they count as so many faults.
    """
    found = None
    steps = case.steps(servers.signatures)
    for step in steps:
        difference = compare(shown(step), *servers.ask(step), faults=len(case.kept) if smallest else 0)
        if difference is None:
            continue
        if difference.foreseen is None:
            found = found or difference
        elif seen is not None:
            seen[difference.foreseen.name] += 1
        if difference.has_consequences:
            if step is not steps[-1]:
                servers.ask(steps[-1])  # it leaves both servers in one state
            break
    return found


def shrink(servers: Servers, case: Case, difference: Difference) -> Finding:
    """Leave out changes one at a time while a difference without a reason remains."""
    for place in case.kept:
        smaller = case.without(place)
        if remaining := look(servers, smaller):
            case, difference = smaller, remaining
    return Finding(case, difference)


def run(
    servers: Servers, seed: int, seconds: float, *, note: Callable[[Finding], None], kind: str | None = None
) -> Findings:
    """Run the cases of a seed, or those of one kind, for some seconds; call `note` with each new one."""
    findings = Findings()
    begun = time.monotonic()
    for case in map(partial(whole_case, seed), count()):
        findings.seconds = time.monotonic() - begun
        if findings.seconds >= seconds:
            break
        if kind not in (None, case.kind):
            continue
        findings.cases += 1
        before = findings.seen.total()
        difference = look(servers, case, findings.seen)
        findings.differing += difference is not None or findings.seen.total() > before
        if servers.revive_if_lost():
            findings.deaths.append(case)
        elif difference is not None and (finding := _finding(findings, servers, case, difference)):
            note(finding)
    return findings


def _finding(findings: Findings, servers: Servers, case: Case, difference: Difference) -> Finding | None:
    """Shrink and count a difference; return it if it is the first of its group."""
    finding = shrink(servers, case, difference)
    if len(finding.case.kept) > 1 and look(servers, finding.case, findings.seen, smallest=True) is None:
        return None
    group = finding.difference.group
    findings.count[group] += 1
    return finding if findings.first.setdefault(group, finding) is finding else None
