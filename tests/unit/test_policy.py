"""When a failed task runs again, and how much is fetched ahead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.policy import RetryPolicy, prefetch


def test_delays_grow_up_to_the_longest() -> None:
    policy = RetryPolicy(delay=2.0, backoff=3.0, max_delay=50.0, jitter=False)
    assert [policy.wait_for(attempt, lambda: 0.5) for attempt in range(5)] == [2.0, 6.0, 18.0, 50.0, 50.0]


def test_a_constant_delay() -> None:
    policy = RetryPolicy(delay=2.0, backoff=1.0, jitter=False)
    assert {policy.wait_for(attempt, lambda: 0.5) for attempt in (0, 1, 10**9)} == {2.0}


def test_jitter_draws_between_zero_and_the_delay() -> None:
    policy = RetryPolicy(delay=8.0, backoff=2.0, max_delay=20.0)
    assert [policy.wait_for(1, lambda: 0.0), policy.wait_for(1, lambda: 0.5)] == [0.0, 8.0]
    assert policy.wait_for(5, lambda: 0.5) == 10.0


@given(
    st.integers(0, 2**31), st.floats(0, 1e6), st.floats(1, 1e3), st.floats(0, 1e9), st.floats(0, 1, exclude_max=True)
)
def test_no_attempt_overflows(attempt: int, delay: float, backoff: float, most: float, chance: float) -> None:
    policy = RetryPolicy(delay=delay, backoff=backoff, max_delay=most)
    assert 0.0 <= policy.wait_for(attempt, lambda: chance) <= most


def test_errors_that_are_retried_by_themselves() -> None:
    policy = RetryPolicy(autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,))
    assert policy.automatic(ConnectionError())
    assert not policy.automatic(FileNotFoundError())
    assert not policy.automatic(ValueError())
    assert not RetryPolicy().automatic(ValueError())


@pytest.mark.parametrize(
    ("mean", "fits"), [(0.0, 1), (1e-5, 1000), (0.001, 50), (0.01, 5), (0.05, 1), (0.2, 1), (100.0, 1)]
)
def test_what_fits_in_the_window(mean: float, fits: int) -> None:
    assert prefetch(mean, 0.05, 1000) == pytest.approx(fits, abs=1)
