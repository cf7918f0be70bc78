from __future__ import annotations

import pytest

from pyg_vig.train.schedule import learning_rate_factor


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_the_learning_rate_rises_to_one_and_falls_to_zero(warmup: int) -> None:
    factors = [learning_rate_factor(step, schedule="cosine", warmup=warmup, total=20) for step in range(21)]
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factors[warmup] == 1
    assert factors[-1] == pytest.approx(0)
    assert min(factors[:-1]) > 0


def test_the_cosine_may_end_above_zero_and_stay_there() -> None:
    factors = [learning_rate_factor(step, schedule="cosine", warmup=2, total=10, floor=0.1) for step in range(13)]
    assert max(factors) == 1
    assert factors[10:] == pytest.approx([0.1] * 3)
    assert min(factors[2:]) == pytest.approx(0.1)


def test_steps_and_polynomials() -> None:
    milestones = {"schedule": "steps", "total": 120, "warmup": 10, "milestones": (8 / 12, 11 / 12)}
    factors = [learning_rate_factor(step, **milestones) for step in (0, 9, 79, 80, 109, 110)]
    assert factors == pytest.approx([0.1, 1, 1, 0.1, 0.1, 0.01])
    assert learning_rate_factor(60, schedule="poly", total=120) == pytest.approx(0.5**0.9)
    assert [learning_rate_factor(120, schedule=name, total=120) for name in ("poly", "cosine")] == [0, 0]


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="schedule must be one of steps, cosine, poly, got 'step'"):
        learning_rate_factor(0, schedule="step", total=10)
