r"""Trains a seed head, which predicts for a large SAM where grains are: points (seeds) at which to prompt it.

    python -m training.seeds --model sam_vit_b --checkpoint vit_b.pth --run training/runs/vit_b_seeds
    python -m training.seeds --model sam_vit_b --checkpoint vit_b.pth --run training/runs/rock_seeds --data rock

The SAM itself does not change: only a head of a million parameters on its image embedding learns. It learns from
synthetic images, or from your own with label maps (as training.finetune reads them: A17.jpg, A17_labels.png), mixed
with synthetic ones. This is quick. First, --images crops are embedded, once, and kept in the run's folder, 7 MB each:
on two cores 5 s a crop with ViT-B, 25 s with ViT-H. Then the head learns from them again and again, an hour for 2000
steps; on a GPU all of it takes minutes. An embedded crop cannot be turned or mirrored any more, so the more crops, the
better. A fifth of the crops, of images that nothing is learnt from, tells which step was best.

You may interrupt it. The same command resumes the run, with the same images, weights and settings; only --every and
--device may change. Its folder then holds seeds.pth, which the handler can load; card.md, curves.png and log.jsonl; and
the embeddings, which may be deleted. To serve it:

    grainserve weights push training/runs/vit_b_seeds/seeds.pth --name sam_vit_b_seeds.pth
    # and in the model config:  seeds: gs://…/sam_vit_b_seeds.pth

A head fits only the image encoder that it was trained with. To fine-tune the encoder, do so first, then make its head.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from grain_handler.sam import models, seed_head, seeds
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.precision import resolve
from grain_handler.sam.seed_head import SeedHead
from grain_handler.sam.seeds import Votes
from tools.problem import Problem, main_exit
from training.checkpoints import STATE, claim, digest, fetch, load, said, save, write_curves
from training.crops import FRAME, UNKNOWN, CropStream
from training.finetune import draw
from training.fitting import descend
from training.folder import Annotated, read, split
from training.losses import DenseTargets, dense_targets, seed_loss
from training.schedule import cosine

SETTINGS = ("model", "images", "synthetic", "seed", "steps", "batch", "lr")
"""Options that must stay the same when a run is resumed."""

VALIDATION_SEED = 970_000
KEPT_APART = 0.2
"""Share of the crops that tell which step is best."""

AVERAGE_DECAY = 0.99


@dataclass(frozen=True)
class Validation:
    """Figures of a validation.

    Attributes:
        step: steps taken.
        loss: mean loss since the last validation.
        held_out_loss: mean loss on the crops kept apart.
        found: share of the grains in these crops that have a seed on them.
        wasted: share of the seeds that lie on ground, or on a grain that has a seed already.
    """

    step: int
    loss: float
    held_out_loss: float
    found: float
    wasted: float


class Embedded:
    """Crops with their embeddings on disk, in one file each.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.pt")))

    def fill(self, count: int, stream: CropStream, generator: MaskGenerator) -> None:
        """Embeds the crops that are missing, as the handler embeds images.

        Args:
            count: number of crops that there should be.
            stream: stream of batches, of which each gives its first crop.
            generator: generator that embeds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        crops = iter(stream)
        for number in tqdm(
            range(len(self), count), desc=f"embedding {self.folder.name}", initial=len(self), total=count
        ):
            batch = next(crops)
            (embedding,) = generator.embed([batch.images[0].permute(1, 2, 0).numpy()])
            truth = {name: value.half() for name, value in asdict(dense_targets(batch.labels)).items()}
            row = {"embedding": embedding.tokens.cpu().half(), "labels": batch.labels[0].int()}
            save(self.folder / f"{number:05}.pt", row | truth)

    def take(self, numbers: Sequence[int], device: torch.device) -> tuple[Tensor, DenseTargets, Tensor]:
        """Reads crops.

        Args:
            numbers: numbers of the crops.
            device: device of embeddings and true maps.

        Returns:
            Embeddings (B × C × 64 × 64), true maps, and labels (B × 1024 × 1024).
        """
        rows = [torch.load(self.folder / f"{number:05}.pt", weights_only=True) for number in numbers]
        truth: Mapping[str, Tensor] = {
            each.name: torch.cat([row[each.name] for row in rows]).to(device).float() for each in fields(DenseTargets)
        }
        embedding = torch.cat([row["embedding"] for row in rows]).to(device).float()
        targets = DenseTargets(**{**truth, "inside": truth["inside"] > 0})
        return embedding, targets, torch.stack([row["labels"] for row in rows])


def hits(maps: Tensor, labels: NDArray[np.int32]) -> tuple[int, int, int]:
    """Counts the grains that the seeds of a seed map hit.

    Args:
        maps: `SEED_CHANNELS` × 128 × 128, seed map.
        labels: 1024 × 1024, true labels.

    Returns:
        Number of grains with a seed on them, number of grains, number of seeds.
    """
    found = seeds.find(Votes.read(maps, *maps.shape[1:])).points
    x, y = np.clip(found.astype(int), 0, np.array(labels.shape[::-1]) - 1).T
    hit, grains = (set(np.unique(some).tolist()) - {0, UNKNOWN} for some in (labels[y, x], labels))
    return len(hit), len(grains), len(found)


@dataclass
class Learning:
    """The state of a run.

    Attributes:
        head: seed head that learns.
        average: moving average of the head, which is validated and written.
        optimizer: optimizer of the head.
        device: device of the head.
        step: steps taken.
        history: all validations.
    """

    head: SeedHead
    average: SeedHead
    optimizer: torch.optim.Optimizer
    device: torch.device
    step: int = 0
    history: list[Validation] = field(default_factory=list)

    @classmethod
    def begin(cls, head: SeedHead, rate: float, device: torch.device) -> Learning:
        """Begins a run with an untrained head.

        Args:
            head: seed head.
            rate: learning rate.
            device: device of the head.
        """
        optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.02)
        return cls(head, copy.deepcopy(head).requires_grad_(False).eval(), optimizer, device)

    @property
    def best(self) -> Validation:
        """The validation with the least loss on the crops kept apart."""
        return min(self.history, key=lambda each: each.held_out_loss)

    def save(self, run: Path) -> None:
        """Writes the state from which the run is resumed."""
        parts: dict[str, Any] = {"head": self.head, "average": self.average, "optimizer": self.optimizer}
        state = {name: part.state_dict() for name, part in parts.items()}
        save(run / STATE, state | {"step": self.step, "history": [asdict(each) for each in self.history]})

    def resume(self, run: Path) -> None:
        """Restores the state that `save` last wrote."""
        state = torch.load(run / STATE, map_location=self.device, weights_only=True)
        self.head.load_state_dict(state["head"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history = state["step"], [Validation(**each) for each in state["history"]]

    def take_step(self, embedding: Tensor, truth: DenseTargets, rate: float) -> float:
        """Takes a step of the optimizer and of the average; returns the loss.

        Args:
            embedding: B × C × 64 × 64.
            truth: true maps of the crops.
            rate: learning rate.

        Raises:
            FloatingPointError: the gradient is not finite; nothing was changed.
        """
        loss = seed_loss(self.head(embedding), truth)
        follow = zip(self.average.parameters(), self.head.parameters(), strict=True)
        descend(loss, self.optimizer, rate, self.step, averages=follow, decay=AVERAGE_DECAY)
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def validate(self, kept: Embedded, loss: float) -> Validation:
        """Measures the average on the crops kept apart, and adds the figures to the history.

        Args:
            kept: crops kept apart.
            loss: mean loss of the steps since the last validation.

        Returns:
            The new entry of the history.
        """
        losses, counts = [], np.zeros(3, int)
        for number in range(len(kept)):
            embedding, truth, labels = kept.take([number], self.device)
            maps = self.average(embedding)
            losses.append(float(seed_loss(maps, truth)))
            counts += hits(maps[0], labels[0].numpy())
        hit, grains, asked = counts.tolist()
        found = Validation(
            self.step, loss, float(np.mean(losses)), hit / max(1, grains), (asked - hit) / asked if asked else 0.0
        )
        self.history.append(found)
        return found


def embedded(
    arguments: argparse.Namespace, images: Sequence[Annotated], generator: MaskGenerator
) -> tuple[Embedded, Embedded]:
    """Embeds the crops to learn from and, of other images, the crops kept apart; returns both."""
    learnt, kept = split(images, arguments.seed) if images else ([], [])
    share = arguments.synthetic if images else 1.0
    apart = max(1, round(KEPT_APART * arguments.images))
    made = []
    for name, some, mixed, count, seed in (
        ("learnt", learnt, share, arguments.images - apart, arguments.seed * 1_000_003),
        ("kept", kept, 0.0 if images else 1.0, apart, VALIDATION_SEED),
    ):
        crops = Embedded(arguments.run / "embeddings" / name)
        # A batch is one crop of the whole frame. The seed moves on with the crops that there are already, so that after
        # an interruption other images are drawn.
        source = partial(draw, images=some, synthetic_share=mixed)
        stream = CropStream(seed + len(crops), crops=1, prompts=1, crops_per_image=16, source=source, sides=(FRAME,))
        crops.fill(count, stream, generator)
        made.append(crops)
    return made[0], made[1]


def write_card(run: Path, arguments: argparse.Namespace, source: str, learning: Learning) -> None:
    """Writes card.md: what the head is and how it was made."""
    best = learning.best
    (run / "card.md").write_text(
        f"# {run.name}\n\nA seed head for {arguments.model}, on the embeddings of {Path(arguments.checkpoint).name} "
        f"({time.strftime('%Y-%m-%d')}). It fits no other image encoder.\n\nLearnt from {arguments.images} crops of "
        f"{source}, a fifth of them kept apart; seed {arguments.seed}; learning rate {arguments.lr:g}; "
        f"{arguments.batch} crops a step.\n\nOn the crops kept apart, at step {best.step}, the step of the least loss "
        f"({best.held_out_loss:.3f}), which this head is from: {100 * best.found:.0f} % of the grains have a seed on "
        f"them; {100 * best.wasted:.0f} % of the seeds lie on ground or on a grain that has one already.\n"
    )


def run_learning(arguments: argparse.Namespace, images: Sequence[Annotated]) -> Learning:
    """Embeds crops and trains the head on them, or does what is left of both.

    Raises:
        Problem: there are too few images, the checkpoint does not fit the model, the model predicts seeds itself, or
            the folder holds another run.
    """
    if arguments.images < 2 or arguments.steps < 1:
        raise Problem("--images must be 2 at least, one to learn from and one kept apart, and --steps 1")
    device, run = torch.device(arguments.device), arguments.run
    checkpoint = fetch(arguments.checkpoint)
    sam = load(arguments.model, checkpoint, device)
    torch.manual_seed(arguments.seed)
    with said():
        learning = Learning.begin(seed_head.new(arguments.model, sam), arguments.lr, device)
    data = digest(part for each in images for part in (each.name, each.image, each.labels)) if images else "synthetic"
    claim(run, {name: getattr(arguments, name) for name in SETTINGS}, {"checkpoint": checkpoint.crc32c, "data": data})
    if (run / STATE).exists():
        learning.resume(run)
        print(f"resumed {run} at step {learning.step}")
    else:
        # Saved before anything is embedded, so that a command with other settings cannot use these embeddings.
        learning.save(run)
    learnt, kept = embedded(arguments, images, MaskGenerator(sam, resolve("auto", device)))
    rng = np.random.default_rng([arguments.seed, learning.step])
    recent: list[float] = []
    with tqdm(initial=learning.step, total=arguments.steps, mininterval=5, desc="steps") as progress:
        while learning.step < arguments.steps:
            embedding, truth, _ = learnt.take(rng.integers(len(learnt), size=arguments.batch).tolist(), device)
            recent.append(learning.take_step(embedding, truth, cosine(learning.step, arguments.steps, arguments.lr)))
            progress.update()
            if learning.step % arguments.every and learning.step != arguments.steps:
                continue
            found = learning.validate(kept, float(np.mean(recent)))
            recent.clear()
            if learning.best is found:
                save(run / "seeds.pth", seed_head.content(learning.average, arguments.model))
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(asdict(found)) + "\n")
            learning.save(run)
    curves = {
        title: [(each.step, getattr(each, name)) for each in learning.history]
        for title, name in (
            ("loss", "loss"),
            ("loss on crops kept apart", "held_out_loss"),
            ("grains with a seed", "found"),
            ("seeds wasted", "wasted"),
        )
    }
    write_curves(run / "curves.png", curves, learning.best.step)
    named = [arguments.data.name] if images else []
    source = " and ".join(named + ["synthetic images"] * (not images or arguments.synthetic > 0))
    write_card(run, arguments, source, learning)
    return learning


def parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--run", type=Path, required=True, help="folder of this run; resumed if it has a state")
    add("--model", required=True, choices=models.REGISTRY, help="model that predicts no seeds itself")
    add("--checkpoint", required=True, help="its weights: a file or gs://")
    add("--data", type=Path, help="folder of images with label maps (default: synthetic images)")
    add("--images", type=int, default=250, help="crops that are embedded (default: %(default)s)")
    add("--synthetic", type=float, default=0.3, help="share of synthetic images among yours (default: %(default)s)")
    add("--steps", type=int, default=2000, help="(default: %(default)s)")
    add("--batch", type=int, default=4, help="crops in a step (default: %(default)s)")
    add("--every", type=int, default=100, help="steps between validations and saves (default: %(default)s)")
    add("--lr", type=float, default=1e-3, help="peak learning rate (default: %(default)s)")
    add("--seed", type=int, default=1)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Reads the arguments and trains."""
    arguments = parser().parse_args(given)
    best = run_learning(arguments, read(arguments.data) if arguments.data else []).best
    print(
        f"At step {best.step} {100 * best.found:.0f} % of the grains kept apart have a seed; "
        f"{100 * best.wasted:.0f} % of the seeds are wasted."
    )
    print(f"Seed head: {arguments.run / 'seeds.pth'}; card.md and curves.png beside it.")
    return 0


if __name__ == "__main__":
    main_exit(main)
