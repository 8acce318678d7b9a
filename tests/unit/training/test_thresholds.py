from __future__ import annotations

import numpy as np

from grain_handler.masks import Mask
from grain_handler.options import Options
from training.thresholds import sweep


def test_the_thresholds_that_keep_grains_and_drop_the_rest_win() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[2:12, 2:12], labels[20:32, 20:32] = 1, 2
    grains = [Mask(2, 2, np.ones((10, 10), bool), 0.45, 0.75), Mask(20, 20, np.ones((12, 12), bool), 0.9, 0.9)]
    rest = [Mask(25, 2, np.ones((10, 10), bool), 0.35, 0.9), Mask(2, 25, np.ones((10, 10), bool), 0.9, 0.65)]
    image = np.zeros((40, 40, 3), np.uint8)
    table = sweep([(image, labels)], [[*grains, *rest]], Options())
    assert table[0] == (1.0, 0.4, 0.7)
    assert [row for row in table if row[0] == 1.0] == [(1.0, 0.4, 0.7)]
