"""The library's promises on random classifiers, always the same ones: about a minute of them."""

from hypothesis import HealthCheck, given, settings

from tests.fuzz.cases import cases
from tests.fuzz.promises import hold


@settings(
    derandomize=True,
    max_examples=80,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(cases())
def test_promises_hold_on_whatever_is_drawn(case):
    hold(case)
