"""Decides which tokens of which sequences are computed next, and which pages they get.

Every step computes the newest token of each sequence that generates, and then as much of the prompts as its budget
allows, so that a long prompt does not hold up the others (Agrawal et al. 2023, chunked prefill). A sequence begins when
its prompt fits into the pool; when a sequence needs a page and none is left, the last in rank gives its pages back and
is computed again later (Kwon et al. 2023). Beginnings that are in the pool already are not computed again. Pure: its
clock is the number of steps.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from slipway.transformer.paged.pool import PagePool
from slipway.transformer.paged.sequence import PagedSequence


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens `begin` to `end` of a sequence, to be computed in one step, and a draft of those that may follow."""

    sequence: PagedSequence
    begin: int
    end: int
    draft: tuple[int, ...] = ()

    @property
    def scored(self) -> bool:
        """Whether the next token can be chosen afterwards."""
        return self.end == len(self.sequence.tokens)


@dataclass(slots=True)
class StepPlan:
    """What one step computes: `generating` pieces of one token each, and then pieces of prompts. Before that, pages are
    copied (from, to)."""

    pieces: list[Piece] = field(default_factory=list)
    generating: int = 0
    copies: list[tuple[int, int]] = field(default_factory=list)

    @property
    def prompt_tokens(self) -> int:
        """How many tokens of prompts are computed."""
        return sum(piece.end - piece.begin for piece in self.pieces[self.generating :])


class PageScheduler:
    """The sequences that wait and that run, at most `places` at once."""

    def __init__(self, pool: PagePool, *, places: int) -> None:
        self.pool = pool
        self.now = 0  # steps so far
        self.preemptions = 0
        self.cached_tokens = 0  # tokens of prompts that were found in the pool
        self._places = places
        self._asked = 0
        self._waiting: list[PagedSequence] = []  # both by rank
        self._running: list[PagedSequence] = []

    @property
    def waiting(self) -> int:
        """How many sequences wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many sequences have pages."""
        return len(self._running)

    @property
    def generating(self) -> int:
        """How many sequences need only their newest token computed."""
        return sum(sequence.left == 1 for sequence in self._running)

    def silent(self, count: int) -> list[PagedSequence]:
        """Return the sequences whose prompts are being computed, and `count` of those that wait, in turn."""
        first = self._asked if self._asked < len(self._waiting) else 0
        self._asked = first + count
        running = [sequence for sequence in self._running if sequence.left > 1]
        return running + self._waiting[first : self._asked]

    def refusal(self, tokens: int) -> str:
        """Return why a sequence that grows to this many tokens can never run, "" if it can."""
        return too_long(tokens, self.pool.count * self.pool.page_size)

    def add(self, sequence: PagedSequence) -> None:
        """Let a sequence wait for its turn; one that `refusal` refuses must not be added."""
        insort(self._waiting, sequence, key=_rank)

    def remove(self, sequence: PagedSequence, *, failed: bool = False) -> None:
        """Forget a sequence, wherever it is; its pages are available at once, and not shared if it has failed."""
        if failed:
            self.pool.unname(sequence.pages)
        if sequence.running:
            self._running.remove(sequence)
            self._give_back(sequence)
        else:
            self._waiting.remove(sequence)

    def plan(self, budget: int) -> StepPlan:
        """Return the next step, with up to `budget` (at least 1) tokens of prompts; empty if there is nothing to do."""
        self._admit()
        plan = StepPlan()
        for sequence in list(self._running):
            if sequence.running and sequence.left == 1 and self._grow(sequence):
                plan.pieces.append(Piece(sequence, sequence.computed, sequence.computed + 1))
        plan.generating = len(plan.pieces)
        self._add_prompts(plan, budget)
        return plan

    def room(self, sequence: PagedSequence, count: int) -> int:
        """Return for how many of `count` tokens of a draft a generating sequence has room, after it has been given free
        pages for them. Nobody gives pages up for a draft, and one is left for each sequence that runs."""
        pool = self.pool
        size = pool.page_size
        needed = pool.pages_for(len(sequence.tokens) + count) - len(sequence.pages)
        spare = pool.available - len(self._running)
        if needed > 0 and spare > 0:
            sequence.pages += pool.take(min(needed, spare))
        return max(0, min(count, len(sequence.pages) * size - len(sequence.tokens)))

    def advance(self, pieces: Sequence[Piece]) -> None:
        """Note that pieces have been computed: the pages they filled can be found. The caller then appends the chosen
        token to each sequence whose piece was `scored`, or removes the sequence."""
        self.now += 1
        for piece in pieces:
            self._computed(piece.sequence, piece.end)

    def accept(self, sequence: PagedSequence) -> None:
        """Note that all tokens of a sequence but the newest have been computed: those of a draft were right."""
        self._computed(sequence, len(sequence.tokens) - 1)

    def _computed(self, sequence: PagedSequence, end: int) -> None:
        begin, size = sequence.computed, self.pool.page_size
        sequence.computed = end
        if not sequence.cacheable:
            return
        for page in range(begin // size, end // size):
            self.pool.name(sequence.pages[page], sequence.key(page, size))
        last = sequence.prompt - 1
        if begin < sequence.prompt <= end and last % size:
            page = last // size
            self.pool.name_beginning(sequence.pages[page], sequence.beginning_key(page, size, last))

    def _admit(self) -> None:
        """Let sequences begin, in order, as long as their tokens fit and a page is left for each that runs."""
        pool = self.pool
        while self._waiting and len(self._running) < self._places:
            sequence = self._waiting[0]
            found = self._found(sequence)
            needed = pool.pages_for(len(sequence.tokens)) - len(found)
            if pool.available - sum(map(pool.is_kept, found)) < needed + len(self._running):
                return
            del self._waiting[0]
            for page in found:
                pool.hold(page)
            sequence.pages = found + pool.take(needed)
            self._skip(sequence, len(found) * pool.page_size)
            sequence.running = True
            insort(self._running, sequence, key=_rank)

    def _found(self, sequence: PagedSequence) -> list[int]:
        """Return the pages that hold the beginning of a sequence, without its last token, which has to be computed."""
        found: list[int] = []
        size = self.pool.page_size
        while sequence.cacheable and (len(found) + 1) * size < len(sequence.tokens):
            page = self.pool.find(sequence.key(len(found), size))
            if page is None:
                break
            found.append(page)
        return found

    def _add_prompts(self, plan: StepPlan, budget: int) -> None:
        planned = {piece.sequence.serial for piece in plan.pieces}
        claimed: set[bytes] = set()  # contents that this step computes: who needs the same waits and shares them
        for sequence in self._running:
            if budget < 1:
                return
            if sequence.serial in planned:
                continue
            self._adopt(sequence, plan)
            end = min(len(sequence.tokens), sequence.computed + budget)
            keys = self._keys(sequence, end)
            if sequence.computed % self.pool.page_size == 0 and not claimed.isdisjoint(keys[:1]):
                continue
            claimed.update(keys)
            plan.pieces.append(Piece(sequence, sequence.computed, end))
            budget -= end - sequence.computed

    def _adopt(self, sequence: PagedSequence, plan: StepPlan) -> None:
        """Take over what other sequences have computed since this one began."""
        pool, size = self.pool, self.pool.page_size
        while sequence.cacheable and sequence.left > 1 and sequence.computed % size == 0:
            number = sequence.computed // size
            if sequence.left > size:
                page = pool.find(sequence.key(number, size))
                if page is None:
                    return
                pool.hold(page)
                pool.release([sequence.pages[number]])
                sequence.pages[number] = page
                self._skip(sequence, size)
            else:
                last = len(sequence.tokens) - 1
                page = pool.find_beginning(sequence.beginning_key(number, size, last))
                if page is None:
                    return
                plan.copies.append((page, sequence.pages[number]))
                self._skip(sequence, last - sequence.computed)

    def _keys(self, sequence: PagedSequence, end: int) -> list[bytes]:
        """Return the keys of the contents that a piece up to `end` computes: of pages, and of a beginning at the end of
        a prompt."""
        if not sequence.cacheable:
            return []
        size, last = self.pool.page_size, len(sequence.tokens) - 1
        pages = range(sequence.computed // size, min(self.pool.pages_for(end), last // size))
        keys = [sequence.key(page, size) for page in pages]
        if end > last and last % size:
            keys.append(sequence.beginning_key(last // size, size, last))
        return keys

    def _skip(self, sequence: PagedSequence, tokens: int) -> None:
        sequence.computed += tokens
        if not sequence.begun:
            self.cached_tokens += tokens

    def _grow(self, sequence: PagedSequence) -> bool:
        """Give a sequence the page for its newest token; return False if it had to give up its own instead."""
        pool = self.pool
        if len(sequence.tokens) <= len(sequence.pages) * pool.page_size:
            return True
        while not pool.available:
            last = self._running[-1]
            self._preempt(last)
            if last is sequence:
                return False
        sequence.pages += pool.take(1)
        return True

    def _preempt(self, sequence: PagedSequence) -> None:
        self.preemptions += 1
        self._running.remove(sequence)
        self._give_back(sequence)
        insort(self._waiting, sequence, key=_rank)

    def _give_back(self, sequence: PagedSequence) -> None:
        self.pool.release(sequence.pages)
        sequence.pages = []
        sequence.computed = 0
        sequence.running = False


def _rank(sequence: PagedSequence) -> tuple[int, int]:
    return sequence.rank


def too_long(tokens: int, room: int) -> str:
    """Return that a sequence of `tokens` tokens does not fit into a pool of `room`, "" if it does."""
    if tokens <= room:
        return ""
    return f"it needs {tokens} tokens of key-value memory (prompt and output), but the pool has {room}"
