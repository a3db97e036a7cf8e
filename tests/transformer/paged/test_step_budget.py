"""The budget of a step follows what steps cost."""

from __future__ import annotations

from slipway.transformer.paged.step_budget import STRETCH, StepBudget


def taught(alone: int, per_token: int, *, most: int = 512) -> StepBudget:
    budget = StepBudget(most)
    for _ in range(20):
        budget.observe(4, 0, alone)
        budget.observe(4, 32, alone + 32 * per_token)
    return budget


def test_a_step_with_prompts_takes_a_stated_factor_longer_than_one_without() -> None:
    tokens = taught(1000, 10).tokens(4)
    assert 0.95 * STRETCH <= (1000 + 10 * tokens) / 1000 <= 1.05 * STRETCH


def test_prompts_go_on_even_if_their_tokens_are_expensive() -> None:
    assert taught(100, 1000).tokens(4) == 8


def test_nothing_exceeds_the_limit() -> None:
    assert taught(10_000, 1, most=64).tokens(4) == 64
    assert StepBudget(4).tokens(1) == 4


def test_prompts_alone_get_the_limit() -> None:
    assert taught(1000, 10).tokens(0) == 512


def test_now_and_then_a_step_goes_without_prompts_to_be_measured() -> None:
    budget = taught(1000, 10)
    budgets = []
    for _ in range(40):
        tokens = budget.tokens(4)
        budgets.append(tokens)
        budget.observe(4, tokens, 2000 if tokens else 1000)
    assert 2 <= budgets.count(0) <= 3
