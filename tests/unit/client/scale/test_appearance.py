from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grainserve.scale.appearance import _percentile


@given(st.lists(st.integers(-255, 255), min_size=1, max_size=40), st.sampled_from([0, 5, 10, 50, 62.5, 90, 100]))
def test_a_percentile_is_numpys(levels: list[int], percent: float) -> None:
    values = np.array(levels, dtype=np.float64)
    assert _percentile(values, percent) == float(np.percentile(values, percent))
