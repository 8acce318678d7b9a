"""Trains a decoder of `sam_tiny` to be corrected: by points outside an object, more points inside it, a mask to refine.

    python -m training.clicks --run training/runs/clicks --start weights/sam_tiny.pth --real ../shared/data/real

Prompt encoder and mask decoder learn, the image encoder does not. A model config names the file that this makes as
`prompt_decoder`, beside the checkpoint that the run began with; automatic masks stay with the checkpoint's own decoder.

Each prompt is answered ROUNDS times. After each answer a click is put where the answer is wrong, as a person does it:
with label 1 where the object is missing, with label 0 where there is too much. Half of the batches also give the last
answer as a mask to refine; the others only give the points.

You may interrupt it: the same command resumes. RUN/prompt_decoder.pth is the decoder whose validation was best;
RUN/log.jsonl has the mean IoU after each click, the first line before any learning.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from tqdm import tqdm

from grain_handler.sam import prompt_decoder
from tools.problem import Problem, main_exit
from training import real
from training.checkpoints import STATE, fetch, load, save
from training.clicking import Chooser, asked, rounds
from training.crops import Batch, CropStream, prefetched
from training.fitting import descend
from training.losses import intersection_over_union, mask_loss, prompt_loss
from training.real import Draw, kept_apart
from training.schedule import cosine
from training.train import Mixed

ROUNDS = 4
"""Answers to each prompt while it learns: the first, and one after each of three clicks."""
VALIDATED = 6
"""Answers to each prompt in a validation: the first, and one after each of five clicks."""
VALIDATION_SEED = 980_000
SIDES = (512, 256, 512, 512, 1024, 512)
PROMPTS = {256: 6, 512: 12, 1024: 16}
"""Prompts on a crop, by its side, px."""
HELD_OUT = 12
"""Batches of a validation."""
AVERAGE_DECAY = 0.99
DECODER = "prompt_decoder.pth"
"""File in the run's folder that the handler can load."""
EVERY = 200
"""Steps between two validations. The state is saved with each."""


class Prompted(nn.Module):
    """The part of a SAM that learns: its prompt encoder and its mask decoder.

    Args:
        sam: model whose weights these are.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = sam.prompt_encoder, sam.mask_decoder
        sam.requires_grad_(False)
        self.requires_grad_(True)


def loss(sam: Sam, batch: Batch, refine: bool, choose: Chooser) -> Tensor:
    """Returns the scalar loss of a batch.

    All four masks of a first answer learn as in `training.train`; of later ones, the single mask and its predicted IoU.
    """
    total, count = torch.zeros(()), 0
    for of in asked(sam, batch):
        there = torch.ones(len(of.truth), dtype=torch.bool)
        for number, (logits, scores, _) in enumerate(rounds(sam, of, ROUNDS, refine, choose)):
            if number == 0:
                total = total + prompt_loss(logits, scores, of.truth, there)[0] * len(there)
                continue
            true = intersection_over_union(logits[:, 0].detach(), of.truth)
            total = total + (mask_loss(logits[:, 0], of.truth) + 4 * (scores[:, 0] - true).square()).sum()
        count += ROUNDS * len(there)
    return total / max(count, 1)


@torch.no_grad()
def validate(sam: Sam, batches: Sequence[Batch]) -> dict[str, list[float]]:
    """Returns the mean IoU after 0, 1, 2 … clicks, with the last mask given back and without."""
    table = {}
    for name, refine in (("refined", True), ("points", False)):
        ious: list[list[Tensor]] = [[] for _ in range(VALIDATED)]
        for batch in batches:
            for of in asked(sam, batch):
                for row, (_, _, iou) in zip(ious, rounds(sam, of, VALIDATED, refine, Chooser()), strict=True):
                    row.append(iou)
        table[name] = [round(float(torch.cat(row).mean()), 4) for row in ious]
    return table


def merit(table: dict[str, list[float]]) -> float:
    """Returns the mean IoU over all clicks of a validation: larger is better."""
    return float(np.mean([*table["refined"][1:], *table["points"][1:]]))


@dataclass
class Run:
    """The state of a run, from which it is resumed.

    Attributes:
        folder: folder of the run.
        checkpoint: CRC32C of the checkpoint that it began with.
        sam: model that learns.
        learning: its weights that learn.
        average: moving average of the model, which is validated and written.
        optimizer: optimizer of the weights that learn.
        step: steps taken.
        best: best validation.
    """

    folder: Path
    checkpoint: str
    sam: Sam
    learning: Prompted
    average: Sam
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = 0.0

    @classmethod
    def begin(cls, folder: Path, start: Path, rate: float) -> Run:
        """Begins a run, or goes on with the one in the folder.

        Args:
            folder: folder of the run.
            start: checkpoint of sam_tiny to begin with.
            rate: learning rate.

        Raises:
            Problem: the file is no checkpoint of sam_tiny, or not the one that the run was begun with.
        """
        checkpoint = fetch(str(start))
        sam = load("sam_tiny", checkpoint, torch.device("cpu"))
        learning = Prompted(sam)
        optimizer = torch.optim.AdamW(learning.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.98))
        run = cls(folder, checkpoint.crc32c, sam, learning, copy.deepcopy(sam), optimizer)
        if (folder / STATE).exists():
            state = torch.load(folder / STATE, weights_only=True)
            if state["checkpoint"] != checkpoint.crc32c:
                raise Problem(f"{folder} was begun with another checkpoint than {start}: choose another --run")
            for name, part in run.parts().items():
                part.load_state_dict(state[name])
            run.step, run.best = state["step"], state["best"]
        return run

    def parts(self) -> dict[str, Any]:
        """Returns the parts that have a state dict, by name."""
        return {"learning": self.learning, "average": self.average, "optimizer": self.optimizer}

    def take_step(self, batch: Batch, rate: float, choose: Chooser) -> None:
        """Takes a step of the optimizer and of the moving average.

        Args:
            batch: crops with their prompts.
            rate: learning rate.
            choose: chooses where to click.
        """
        pairs = zip(self.average.parameters(), self.sam.parameters(), strict=True)
        follow = [(mean, new) for mean, new in pairs if new.requires_grad]
        value = loss(self.sam, batch, self.step % 2 == 0, choose)
        descend(value, self.optimizer, rate, self.step, averages=follow, decay=AVERAGE_DECAY)
        self.step += 1

    def validate(self, batches: Sequence[Batch]) -> dict[str, Any]:
        """Validates the average, keeps it if it is the best one so far, and returns the line for the log."""
        found = validate(self.average, batches)
        if self.step and merit(found) > self.best:
            self.best = merit(found)
            save(self.folder / DECODER, prompt_decoder.content(self.average, "sam_tiny", self.checkpoint))
        return {"step": self.step, "held_out": found}

    def save(self) -> None:
        """Writes the state from which the run is resumed."""
        states = {name: part.state_dict() for name, part in self.parts().items()}
        save(self.folder / STATE, {"step": self.step, "best": self.best, "checkpoint": self.checkpoint} | states)


def batches_of(args: argparse.Namespace, step: int) -> tuple[Iterator[Batch], list[Batch]]:
    """Returns the stream of batches to learn from, and those kept apart.

    Args:
        args: options of the command line.
        step: steps taken before.
    """
    outlined = real.read(args.real) if args.real else []
    learnt = Draw([each for each in outlined if not kept_apart(each)]) if outlined else None
    apart = Draw([each for each in outlined if kept_apart(each)]) if outlined else None
    held_out = CropStream(VALIDATION_SEED, prompts=PROMPTS, source=Mixed(apart, 0.5), crops_per_image=8)
    source, seed = Mixed(learnt, args.real_share), args.seed * 1_000_003 + step
    stream = CropStream(seed, crops=args.crops, prompts=PROMPTS, source=source, sides=SIDES)
    return prefetched(stream, args.workers), list(islice(held_out, HELD_OUT))


def main() -> int:
    """Trains until the steps are taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of this run; resumed if it has a state")
    parser.add_argument("--start", type=Path, required=True, help="checkpoint of sam_tiny to begin with")
    parser.add_argument("--real", type=Path, help="folder of sets of outlined images (default: none)")
    parser.add_argument("--real-share", type=float, default=0.6, help="share of images from --real (%(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="total steps (default: %(default)s)")
    parser.add_argument("--crops", type=int, default=8, help="256-px crops in a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=5e-4, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that make images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    run = Run.begin(args.run, args.start, args.lr)
    if run.step:
        print(f"resumed {args.run} at step {run.step}")
    stream, held_out = batches_of(args, run.step)
    choose = Chooser(np.random.default_rng([args.seed, run.step]))
    with (
        (args.run / "log.jsonl").open("a") as log,
        tqdm(initial=run.step, total=args.steps, mininterval=10) as progress,
    ):

        def look() -> None:
            line = json.dumps(run.validate(held_out))
            tqdm.write(line)
            log.write(line + "\n")
            log.flush()

        if not run.step:
            look()
        while run.step < args.steps:
            run.take_step(next(stream), cosine(run.step, args.steps, args.lr), choose)
            progress.update()
            if run.step % EVERY == 0 or run.step == args.steps:
                look()
                run.save()
    return 0


if __name__ == "__main__":
    main_exit(main)
