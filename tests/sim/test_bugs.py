"""The simulator finds each planted bug within a few seeds."""

import pytest

from antipodes.core.errors import Corrupt
from tests.sim.bugs import BUGS, Bug
from tests.sim.checks import check
from tests.sim.cluster import Cluster
from tests.sim.history import Violation

SEEDS_MAX = 150

pytestmark = pytest.mark.sim


def find(bug: Bug) -> tuple[int, str] | None:
    """Give the first seed that shows a bug, and what it shows."""
    with bug.patched():
        for seed in range(SEEDS_MAX):
            cluster = Cluster(seed, node_class=bug.node_class)
            try:
                cluster.run()
                problem = next(check(cluster), None)
            except (Violation, Corrupt, AssertionError) as error:
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                return seed, problem
    return None


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_simulator_finds_the_planted_bug(bug: Bug) -> None:
    assert find(bug) is not None, f"{SEEDS_MAX} seeds show nothing of: {bug.name}"
