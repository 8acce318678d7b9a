from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator
from torch.profiler import record_function

from benchmarks.against_stock.stages import STAGES, StageClock, watch_marks, watch_stock
from grain_handler.sam.models import build_sam_tiny


@pytest.fixture
def clock() -> StageClock:
    """A clock that is a second later at every call."""
    ticks: Iterator[int] = iter(range(1000))
    return StageClock(torch.device("cpu"), now=lambda: float(next(ticks)))


def test_an_inner_stage_stops_the_outer_one(clock: StageClock) -> None:
    with clock.run():  # 0
        clock.begin("upsampling")  # 1
        clock.inside("decoder", lambda: None)()  # 2 to 3
        clock.end()  # 4
    assert clock.seconds == {"other": 2, "upsampling": 2, "decoder": 1}


def test_a_stage_that_fails_is_left(clock: StageClock) -> None:
    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError), clock.run():
        clock.inside("nms", fail)()
    assert clock.seconds == {"other": 2, "nms": 1}


def test_marks_are_heard_and_others_left_to_the_profiler(clock: StageClock) -> None:
    with watch_marks(clock), clock.run(), record_function("grainserve::nms"), record_function("another's"):
        pass
    assert clock.seconds == {"other": 2, "nms": 1}
    with record_function("grainserve::nms"):  # the clock listens no longer
        pass
    assert clock.seconds["nms"] == 1


def test_every_stage_of_stock_is_found_and_stock_left_as_it_was() -> None:
    torch.manual_seed(0)
    sam = build_sam_tiny()
    generator = SamAutomaticMaskGenerator(sam, 1, pred_iou_thresh=0, stability_score_thresh=0)
    clock = StageClock(torch.device("cpu"))
    with watch_stock(clock, generator), clock.run():
        generator.generate(np.full((64, 64, 3), 90, np.uint8))
    assert set(clock.seconds) == set(STAGES)
    assert "predict_masks" not in vars(sam.mask_decoder)
    assert not sam.mask_decoder.output_upscaling._forward_pre_hooks
