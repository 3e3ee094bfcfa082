"""The comparison of two checkouts: which way its ratios point, and whose library is timed."""

from pathlib import Path

import pytest

from benchmarks import ratios
from benchmarks._ratio_work import WORK

ROOT = Path(__file__).parents[1]


class Constant:
    """A worker whose work takes so many seconds, but for the first time."""

    def __init__(self, name, seconds, log):
        self.name, self.own, self.log, self.first = name, seconds, log, 100.0

    def seconds(self, work):
        self.log.append(self.name)
        wall, self.first = self.first or self.own, 0
        return [2 * wall, wall]


def test_ratios_are_of_after_to_before_in_turns_without_the_first():
    log = []
    before, after = Constant("before", 0.2, log), Constant("after", 0.1, log)
    found = ratios.compared("anything", before, after, turns=3)
    assert log == ["before", "after", "after", "before"] * 2
    assert found["before"] == pytest.approx(200) and found["after"] == pytest.approx(100)
    assert [found[k] for k in ("wall", "cpu", "low", "high")] == pytest.approx([0.5] * 4)
    (line,) = ratios.table([{"name": "anything", **found}]).splitlines()[2:]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "anything", "200", "100", "0.50", "0.50", "0.50 to 0.50",
    ]  # fmt: skip


@pytest.mark.slow
def test_every_piece_of_work_runs_with_the_library_of_the_checkout():
    with ratios.Worker(ROOT, 1) as worker:
        for name in WORK:
            wall, process = worker.seconds(name)
            assert wall > 0 and process > 0
        with pytest.raises(RuntimeError, match="failed with the library of"):
            worker.seconds("no such work")


@pytest.mark.slow
def test_a_folder_without_the_library_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"has no sklearn_robust"):
        ratios.Worker(tmp_path, 1)
