"""Trains `sam_tiny` from nothing on synthetic grains; interrupt it at will, it resumes.

    python -m training.train --run training/runs/tiny --steps 20000

Every 250 steps the whole state goes to RUN/state.pt. Every 500 the moving average of the weights is scored on held-out
crops; that of the least loss is RUN/sam_tiny.pth, which the handler loads. RUN/log.jsonl has a line per 50 steps.
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
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from grain_handler.models import build_sam_tiny
from tools.problem import main_exit
from training.checkpoints import STATE, save, save_checkpoint
from training.crops import Batch, CropStream, prefetched
from training.fitting import descend
from training.forward import decode, to_device
from training.losses import coverage, dense_loss, prompt_loss
from training.schedule import plateau

AVERAGE_DECAY = 0.999
VALIDATION_SEED = 990_000


class DenseHead(nn.Module):
    """Boundary and foreground at stride 4, read off the embedding; for training only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, 2 * 16, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """B × C × H × W → B × 2 × 4H × 4W, logits."""
        return F.pixel_shuffle(self.project(embedding), 4)


def losses(sam: Sam, head: DenseHead, batch: Batch, dense_only: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """The scalar loss of a batch and the figures for the log."""
    images = (batch.images.float() - sam.pixel_mean) / sam.pixel_std
    device = images.device.type
    with torch.autocast(device, dtype=torch.bfloat16):
        embedding, offsets = sam.image_encoder.encode(images.to(memory_format=torch.channels_last), batch.origins)
        maps = head(embedding)
    auxiliary = dense_loss(maps.float(), offsets, batch.labels)
    if dense_only:
        return auxiliary, {"dense": auxiliary}
    with torch.autocast(device, dtype=torch.bfloat16):
        logits, scores = decode(sam, embedding, batch)
    truth = coverage(batch.labels, batch.targets).flatten(0, 1)
    real = truth.flatten(1).sum(1) >= 4
    loss, (best, chosen, error) = prompt_loss(logits, scores, truth, real)
    figures = {"dense": auxiliary, "prompt": loss, "best_iou": best, "chosen_iou": chosen, "iou_error": error}
    return loss + 0.5 * auxiliary, figures


@torch.no_grad()
def validate(sam: Sam, head: DenseHead, batches: list[Batch]) -> dict[str, float]:
    """Mean figures over fixed batches the training never sees."""
    rows = [losses(sam, head, batch, dense_only=False)[1] for batch in batches]
    return {key: sum(float(row[key]) for row in rows) / len(rows) for key in rows[0]}


@dataclass
class Training:
    """All that a run is, and what an interrupted one is resumed from."""

    sam: Sam
    head: DenseHead
    average: Sam
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = math.inf

    @classmethod
    def begin(cls, device: torch.device, rate: float) -> Training:
        """A fresh model and optimizer."""
        sam = build_sam_tiny().to(device).train()
        sam.to(memory_format=torch.channels_last)
        head = DenseHead(sam.prompt_encoder.embed_dim).to(device)
        parameters = [*sam.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
        return cls(sam, head, copy.deepcopy(sam).eval(), optimizer)

    def parts(self) -> dict[str, Any]:
        """What has a state dict, by name."""
        return {"sam": self.sam, "head": self.head, "average": self.average, "optimizer": self.optimizer}

    def save(self, run: Path) -> None:
        """Writes what the run is resumed from."""
        state = {name: part.state_dict() for name, part in self.parts().items()}
        save(run / STATE, {"step": self.step, "best": self.best} | state)

    def keep_if_best(self, run: Path, loss: float) -> None:
        """Writes the checkpoint that the handler loads, if none scored better on the held-out crops."""
        if loss < self.best:
            self.best = loss
            save_checkpoint(run / "sam_tiny.pth", self.average.state_dict())

    def resume(self, run: Path, device: torch.device) -> None:
        """Goes back to where `save` was last called."""
        state = torch.load(run / STATE, map_location=device, weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step, self.best = state["step"], state["best"]

    def take_step(self, batch: Batch, rate: float, dense_only: bool) -> dict[str, float]:
        """One step of the optimizer and of the moving average; the figures for the log.

        Raises:
            FloatingPointError: If the gradient is not finite; nothing was changed.
        """
        loss, figures = losses(self.sam, self.head, batch, dense_only)
        follow = zip(self.average.parameters(), self.sam.parameters(), strict=True)
        descend(loss, self.optimizer, rate, self.step, averages=follow, decay=AVERAGE_DECAY)
        self.step += 1
        return {"loss": loss.item()} | {name: round(value.item(), 4) for name, value in figures.items()}


def main() -> int:
    """Trains until the steps are taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of this run; resumed if it has a state")
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
    training = Training.begin(device, args.lr)
    if (args.run / STATE).exists():
        training.resume(args.run, device)
        print(f"resumed {args.run} at step {training.step}")

    held_out = iter(CropStream(VALIDATION_SEED, crops=8))
    held_out_batches = [to_device(next(held_out), device) for _ in range(10)]
    stream = CropStream(args.seed * 1_000_003 + training.step, crops=args.crops)
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
