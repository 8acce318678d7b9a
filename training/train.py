"""Trains `sam_tiny` on synthetic grains and on outlined images. You may interrupt it: the same command resumes.

    python -m training.train --run training/runs/tiny --steps 20000               # from nothing, synthetic grains only
    python -m training.train --run training/runs/v3 --start v2.pth --dense-steps 0 --real ../shared/data/real

The share --real-share of the images is drawn from --real (see `training.real`), first a set, then an image; some of its
specimens are kept apart. Every 250 steps the whole state is written to RUN/state.pt. Every 500 steps the moving average
of the weights is validated on crops kept apart; the one with the least loss is RUN/sam_tiny.pth, which the handler can
load. RUN/log.jsonl gets a line every 50 steps.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from grain_handler.sam.models import build_sam_tiny
from grain_handler.sam.tiny_encoder import SEED_HEAD
from tools.problem import Problem, main_exit
from training import real
from training.checkpoints import STATE, save, save_checkpoint
from training.crops import Batch, CropStream, Pair, prefetched, synthetic
from training.fitting import descend
from training.forward import decode, meant, to_device
from training.losses import dense_loss, prompt_loss
from training.real import Draw, kept_apart
from training.schedule import plateau

AVERAGE_DECAY = 0.999
VALIDATION_SEED = 990_000
PROMPTS = {256: 4, 512: 16, 1024: 32}
"""Prompts on a crop, by its side, px. Prompts that see windows cost little beside the encoder."""
SIDES = (512, 512, 256, 512, 1024, 512, 512, 512)
WINDOWS: dict[int, dict[int | None, float]] = {
    256: {None: 1.0},
    512: {16: 0.7, None: 0.3},
    1024: {16: 0.5, 32: 0.4, None: 0.1},
}
"""Sides of the windows that prompts see, tokens, with the share of each, by the side of the crop, px. None: prompts see
the whole crop. A seed's prompt sees a window when the model serves, a grid's the whole image."""


class DenseHead(nn.Module):
    """A head that predicts boundary and foreground at stride 4 from the embedding, for training only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, 2 * 16, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Returns logits: B × C × H × W → B × 2 × 4H × 4W."""
        return F.pixel_shuffle(self.project(embedding), 4)


def losses(
    sam: Sam, head: DenseHead, batch: Batch, dense_only: bool, side: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the scalar loss of a batch, and figures for the log.

    Args:
        sam: model.
        head: auxiliary head.
        batch: crops with their prompts.
        dense_only: whether prompts are left out.
        side: side of the window that a prompt sees, tokens; None: it sees the whole crop.
    """
    images = (batch.images.float() - sam.pixel_mean) / sam.pixel_std
    device = images.device.type
    with torch.autocast(device, dtype=torch.bfloat16):
        embedding, seeds = sam.image_encoder.encode(images.to(memory_format=torch.channels_last), batch.origins)
        maps = head(embedding)
    auxiliary = dense_loss(maps.float(), seeds, batch.labels)
    if dense_only:
        return auxiliary, {"dense": auxiliary}
    with torch.autocast(device, dtype=torch.bfloat16):
        logits, scores = decode(sam, embedding, batch, side)
    loss, (best, chosen, error) = prompt_loss(logits, scores, *meant(batch, side))
    figures = {"dense": auxiliary, "prompt": loss, "best_iou": best, "chosen_iou": chosen, "iou_error": error}
    return loss + 0.5 * auxiliary, figures


def window(side: int) -> int | None:
    """Draws the window that the prompts of a batch see.

    Args:
        side: side of the batch's crops, px.

    Returns:
        The side of the window, tokens; None: they see the whole crop.
    """
    sides, shares = zip(*WINDOWS[side].items(), strict=True)
    drawn: int | None = sides[int(torch.multinomial(torch.tensor(shares), 1))]
    return drawn


@torch.no_grad()
def validate(sam: Sam, head: DenseHead, batches: list[Batch]) -> dict[str, float]:
    """Returns the mean figures over fixed batches that the training never sees."""
    rows = [losses(sam, head, batch, dense_only=False, side=16)[1] for batch in batches]
    means = {key: torch.stack([row[key] for row in rows]).double() for key in rows[0]}
    return {key: round(float(values[torch.isfinite(values)].mean()), 4) for key, values in means.items()}


@dataclass
class Training:
    """The state of a run, from which it is resumed.

    Attributes:
        sam: model that learns.
        head: auxiliary head.
        average: moving average of the model, which is validated and written.
        optimizer: optimizer of model and head.
        step: steps taken.
        best: least loss of a validation.
    """

    sam: Sam
    head: DenseHead
    average: Sam
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = math.inf

    @classmethod
    def begin(cls, device: torch.device, rate: float, start: Path | None = None) -> Training:
        """Begins a run.

        Args:
            device: device of the model.
            rate: learning rate.
            start: checkpoint whose weights the model begins with; None: random weights.

        Raises:
            Problem: the file is no checkpoint of sam_tiny.
        """
        sam = build_sam_tiny().to(device).train()
        if start is not None:
            # Checkpoints from before there were seeds lack the seed head, which then begins at random.
            odd = sam.load_state_dict(torch.load(start, map_location=device, weights_only=True), strict=False)
            strangers = [*odd.unexpected_keys, *(key for key in odd.missing_keys if not key.startswith(SEED_HEAD))]
            if strangers:
                raise Problem(f"{start} is no checkpoint of sam_tiny: {strangers[0]} is odd")
        sam.to(memory_format=torch.channels_last)
        head = DenseHead(sam.prompt_encoder.embed_dim).to(device)
        parameters = [*sam.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
        return cls(sam, head, copy.deepcopy(sam).eval(), optimizer)

    def parts(self) -> dict[str, Any]:
        """Returns the parts that have a state dict, by name."""
        return {"sam": self.sam, "head": self.head, "average": self.average, "optimizer": self.optimizer}

    def save(self, run: Path) -> None:
        """Writes the state from which the run is resumed."""
        state = {name: part.state_dict() for name, part in self.parts().items()}
        save(run / STATE, {"step": self.step, "best": self.best} | state)

    def keep_if_best(self, run: Path, loss: float) -> None:
        """Writes the moving average as the checkpoint for the handler, if no validation had a smaller loss.

        Args:
            run: folder of the run.
            loss: loss of this validation.
        """
        if loss < self.best:
            self.best = loss
            save_checkpoint(run / "sam_tiny.pth", self.average.state_dict())

    def resume(self, run: Path, device: torch.device) -> None:
        """Restores the state that `save` last wrote."""
        state = torch.load(run / STATE, map_location=device, weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step, self.best = state["step"], state["best"]

    def take_step(self, batch: Batch, rate: float, dense_only: bool) -> dict[str, float]:
        """Takes a step of the optimizer and of the moving average; returns the figures for the log.

        Args:
            batch: crops with their prompts.
            rate: learning rate.
            dense_only: whether prompts are left out.

        Raises:
            FloatingPointError: the gradient is not finite; nothing was changed.
        """
        loss, figures = losses(self.sam, self.head, batch, dense_only, window(batch.images.shape[-1]))
        follow = zip(self.average.parameters(), self.sam.parameters(), strict=True)
        descend(loss, self.optimizer, rate, self.step, averages=follow, decay=AVERAGE_DECAY)
        self.step += 1
        return {"loss": loss.item()} | {name: round(value.item(), 4) for name, value in figures.items()}


@dataclass(frozen=True)
class Mixed:
    """A draw of outlined and synthetic images.

    Attributes:
        outlined: draw of outlined images; None: there are none.
        share: share of outlined images, 0…1.
    """

    outlined: Draw | None
    share: float

    def __call__(self, rng: Generator) -> Pair:
        """Draws an image with its labels."""
        return self.outlined(rng) if self.outlined and rng.uniform() < self.share else synthetic(rng)


def main() -> int:
    """Trains until the steps are taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of this run; resumed if it has a state")
    parser.add_argument("--start", type=Path, help="checkpoint to begin with (default: random weights)")
    parser.add_argument("--real", type=Path, help="folder of sets of outlined images (default: none)")
    parser.add_argument(
        "--real-share", type=float, default=0.45, help="share of images from --real (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=20_000, help="total steps (default: %(default)s)")
    parser.add_argument("--dense-steps", type=int, default=2500, help="first steps without prompts (%(default)s)")
    parser.add_argument("--crops", type=int, default=8, help="256-px crops in a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that make images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    training = Training.begin(device, args.lr, args.start)
    if (args.run / STATE).exists():
        training.resume(args.run, device)
        print(f"resumed {args.run} at step {training.step}")

    outlined = real.read(args.real) if args.real else []
    learnt = Draw([each for each in outlined if not kept_apart(each)]) if outlined else None
    apart = Draw([each for each in outlined if kept_apart(each)]) if outlined else None
    held_out = iter(CropStream(VALIDATION_SEED, prompts=PROMPTS, source=Mixed(apart, 0.5), crops_per_image=8))
    held_out_batches = [to_device(next(held_out), device) for _ in range(16)]
    source = Mixed(learnt, args.real_share)
    seed = args.seed * 1_000_003 + training.step
    stream = CropStream(seed, crops=args.crops, prompts=PROMPTS, source=source, sides=SIDES)
    loader = prefetched(stream, args.workers)
    began, first = time.monotonic(), training.step
    with (args.run / "log.jsonl").open("a") as log, tqdm(initial=first, total=args.steps, mininterval=10) as progress:
        while training.step < args.steps:
            rate = plateau(training.step, args.steps, args.lr)
            batch = to_device(next(loader), device)
            figures = training.take_step(batch, rate, training.step < args.dense_steps)
            progress.update()
            if training.step % 50 == 0:
                row: dict[str, Any] = {"step": training.step, "seconds": round(time.monotonic() - began, 1)} | figures
                if training.step % 500 == 0:
                    row["held_out"] = validate(training.average, training.head, held_out_batches)
                    training.keep_if_best(args.run, row["held_out"]["prompt"])
                    tqdm.write(json.dumps(row))
                log.write(json.dumps(row) + "\n")
                log.flush()
            if training.step % 250 == 0 or training.step == args.steps:
                training.save(args.run)
    return 0


if __name__ == "__main__":
    main_exit(main)
