"""Bad weather: a quarter of all frames is lost, some come twice, and everybody loses his power now and then.

The operator asks until it is done, each time from his journal. In the end everything agrees and was done once.
"""

from __future__ import annotations

import pytest

from tests.usecases import (
    test_uc03_disconnector,
    test_uc04_clock,
    test_uc05_firmware,
    test_uc06_supervision,
    test_uc08_keys,
    test_uc12_management,
    test_uc14_selection,
    test_uc20_adapter,
)
from tests.usecases.bench import WAYS
from tests.usecases.cases import storm

OLD = [
    test_uc03_disconnector.DISCONNECT,
    test_uc03_disconnector.LATER,
    test_uc04_clock.SET,
    test_uc05_firmware.UPDATE,
    test_uc06_supervision.CLEAR_ALL,
    test_uc08_keys.MASTER,
    test_uc08_keys.APPLICATION,
]
NEW = [test_uc12_management.SET_OWNER, test_uc14_selection.SEVERAL, test_uc20_adapter.ADD]
PAIRS = [
    pytest.param(way, case, id=f"{case.name}-{way}")
    for way in WAYS
    for case in (OLD + NEW if WAYS[way].issue == "5.0.1" else OLD)
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("way", "case"), PAIRS)
def test_storm(way, case, seed):
    storm(case, way, seed)
