"""One measured claim: ours against its floor, and the aim."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Result:
    """`ours` and `floor` in the same unit; where there is no floor, `aim` is about `ours` itself."""

    name: str
    unit: str
    ours: float
    floor: float | None = None
    aim: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.floor if self.floor else None


def paired(runs: int, ours: Callable[[], float], floor: Callable[[], float]) -> tuple[float, float]:
    """The medians of both, measured in turn so that whatever else the machine does falls on both."""
    pairs = [(floor(), ours()) for _ in range(runs)]
    return median(pair[1] for pair in pairs), median(pair[0] for pair in pairs)
