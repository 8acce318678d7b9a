r"""Distils a large SAM, the teacher, into a small one, the student. The images need no annotation.

    python -m training.distill --teacher-checkpoint training/runs/rock/sam_tiny.pth --run training/runs/rock_nano
    python -m training.distill --teacher sam_vit_h --teacher-checkpoint vit_h.pth \
        --student sam_tiny --student-checkpoint weights/sam_tiny.pth --images photographs --run training/runs/small

First the student's image encoder learns the teacher's embeddings and seeds. If the embeddings differ in their number of
channels, a linear map converts them, which is dropped at the end. If the teacher predicts no seeds, the student learns
those of synthetic images. Then both models get the same prompts. The student learns the teacher's masks, soft (the
teacher's probabilities at a temperature) and hard (its masks), and the IoU that the teacher predicts. The images are
synthetic, or with --images those of your material: any that you have, as many as you have.

You may interrupt it. The same command resumes the run, with the same images, weights and settings; only --every,
--workers and --device may change. A run that took its steps is done, because the learning rate falls to zero over them.
Its folder then holds STUDENT.pth, which the handler can load; card.md, curves.png and log.jsonl. Agreement is the mean
IoU between the masks that the two models prefer, on prompts in batches that nothing is learnt from.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from grain_handler.sam import models
from grain_handler.sam.tiny_encoder import TinyImageEncoder
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.checkpoints import STATE, claim, digest, fetch, load, save, save_checkpoint, write_curves
from training.crops import FRAME, MIX, UNKNOWN, Batch, CropStream, Pair, prefetched, synthetic
from training.fitting import descend
from training.folder import IMAGES, files_of, read_image
from training.forward import decode, embed, to_device
from training.losses import dense_targets, intersection_over_union, mask_loss, said, seed_loss
from training.schedule import cosine

SETTINGS = ("teacher", "student", "synthetic", "seed", "embedding-steps", "mask-steps", "temperature", "hard", "lr")
"""Options that must stay the same when a run is resumed."""

VALIDATION_SEED = 980_000
VALIDATION_BATCHES = 6
CROPS = 8
"""Crops of 256 px in a batch, or fewer larger crops of the same area."""
AVERAGE_DECAY = 0.995
SEEDS = 0.5
"""Weight of the distance of seed maps; that of embeddings has the weight 1."""


@dataclass(frozen=True)
class Mixture:
    """The comparison of the student's masks with the teacher's.

    Attributes:
        temperature: divisor of both models' logits in the soft comparison.
        hard: weight of the comparison with the teacher's masks, 0…1; the one with its probabilities has the rest.
    """

    temperature: float = 2.0
    hard: float = 0.5

    def loss(self, logits: Tensor, scores: Tensor, their_logits: Tensor, their_scores: Tensor) -> Tensor:
        """Returns the loss of masks and predicted IoU. Each mask is weighted by the IoU that the teacher predicts.

        The soft term is multiplied by the square of the temperature, because its gradient falls with that square
        (Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network").

        Args:
            logits: N × 4 × H × W, the student's logits.
            scores: N × 4, the student's predicted IoU.
            their_logits: N × 4 × H × W, the teacher's logits.
            their_scores: N × 4, the teacher's predicted IoU.

        Returns:
            A scalar.
        """
        t = self.temperature
        soft = mask_loss(logits / t, (their_logits / t).sigmoid()) * t**2
        hard = mask_loss(logits, (their_logits > 0).float())
        trust = their_scores.clamp(0, 1)
        masks = ((1 - self.hard) * soft + self.hard * hard) * trust
        return masks.sum() / trust.sum().clamp(min=1) + 4 * F.mse_loss(scores, their_scores)


@dataclass
class Distillation:
    """The state of a run.

    Attributes:
        teacher: model that never changes.
        student: model that learns.
        average: moving average of the student, which is saved as checkpoint.
        bridge: map from the student's embedding to the teacher's channels.
        optimizer: optimizer of student and bridge.
        step: steps taken.
        history: (step, loss, agreement) of each validation; see `agreement`.
    """

    teacher: Sam
    student: Sam
    average: Sam
    bridge: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: list[tuple[int, float, float | None]] = field(default_factory=list)

    @classmethod
    def begin(cls, teacher: Sam, student: Sam, average: Sam, rate: float) -> Distillation:
        """Begins a run. A student whose decoder is built like the teacher's begins with the teacher's decoder.

        Args:
            teacher: model to learn from.
            student: model that learns.
            average: model like the student; gets the student's weights.
            rate: learning rate.
        """
        inherit(student, teacher)
        mine, theirs = student.prompt_encoder.embed_dim, teacher.prompt_encoder.embed_dim
        bridge = nn.Identity() if mine == theirs else nn.Conv2d(mine, theirs, 1).to(teacher.device)
        teacher.requires_grad_(False)
        average.load_state_dict(student.state_dict())
        average.requires_grad_(False)
        optimizer = torch.optim.AdamW([*student.parameters(), *bridge.parameters()], lr=rate, weight_decay=0.02)
        return cls(teacher, student, average, bridge, optimizer)

    def parts(self) -> dict[str, Any]:
        """Returns the parts that change and have a state dict, by name."""
        return {"student": self.student, "average": self.average, "bridge": self.bridge, "optimizer": self.optimizer}

    def save(self, run: Path) -> None:
        """Writes the state from which the run is resumed."""
        state = {name: part.state_dict() for name, part in self.parts().items()}
        save(run / STATE, state | {"step": self.step, "history": self.history})

    def resume(self, run: Path) -> None:
        """Restores the state that `save` last wrote."""
        state = torch.load(run / STATE, map_location=self.student.device, weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]
        self.history = [(step, loss, agreement) for step, loss, agreement in state["history"]]

    def loss(self, batch: Batch, mixture: Mixture | None) -> Tensor:
        """Returns the loss: the distances of embeddings and of seed maps; with a mixture, also of masks and scores.

        If the teacher predicts no seeds, the student learns them from the labels of synthetic images.

        Args:
            batch: crops with their prompts.
            mixture: comparison of the masks; None: masks and scores are not compared.
        """
        device = self.student.device.type
        with torch.autocast(device, dtype=torch.bfloat16):
            embedding, maps = embed(self.student, batch)
            with torch.no_grad():
                target, their_maps = embed(self.teacher, batch)
                target = target.float()
        # In units of the teacher's variance, so that the loss does not depend on the scale of its embedding.
        distance = F.mse_loss(self.bridge(embedding.float()), target) / target.var().clamp(min=1e-6)
        if maps is not None:
            truth = dense_targets(batch.labels) if their_maps is None else said(their_maps.float())
            distance = distance + SEEDS * seed_loss(maps.float(), truth)
        if mixture is None:
            return distance
        with torch.autocast(device, dtype=torch.bfloat16):
            answers = decode(self.student, embedding, batch)
            with torch.no_grad():
                theirs = decode(self.teacher, target, batch)
        return distance + mixture.loss(*answers, *theirs)

    def take_step(self, batch: Batch, mixture: Mixture | None, rate: float) -> float:
        """Takes a step of the optimizer and of the moving average; returns the loss.

        Args:
            batch: crops with their prompts.
            mixture: comparison of the masks; None: masks and scores are not compared.
            rate: learning rate.

        Raises:
            FloatingPointError: the gradient is not finite; nothing was changed.
        """
        loss = self.loss(batch, mixture)
        follow = zip(self.average.parameters(), self.student.parameters(), strict=True)
        descend(loss, self.optimizer, rate, self.step, averages=follow, decay=AVERAGE_DECAY)
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def agreement(self, batches: Sequence[Batch]) -> float | None:
        """Returns the mean IoU between the masks that the averaged student and the teacher prefer.

        Only prompts for which the teacher finds a grain count; None: there are none.
        """
        found = []
        for batch in batches:
            with torch.autocast(self.student.device.type, dtype=torch.bfloat16):
                mine, theirs = (
                    preferred(*decode(sam, embed(sam, batch)[0], batch)) for sam in (self.average, self.teacher)
                )
            seen = (theirs > 0).flatten(1).any(1)
            found.append(intersection_over_union(mine, (theirs > 0).float())[seen])
        every = torch.cat(found)
        return float(every.mean()) if len(every) else None


def preferred(logits: Tensor, scores: Tensor) -> Tensor:
    """Returns, of masks 1 to 3, the one with the best predicted IoU; N × H × W.

    Args:
        logits: N × 4 × H × W.
        scores: N × 4, predicted IoU.
    """
    best = scores[:, 1:].argmax(1)
    return logits[torch.arange(len(logits)), 1 + best]


def inherit(student: Sam, teacher: Sam) -> None:
    """Copies the teacher's prompt encoder and mask decoder to the student, each if both models build it alike."""
    for mine, theirs in (
        (student.prompt_encoder, teacher.prompt_encoder),
        (student.mask_decoder, teacher.mask_decoder),
    ):
        state, other = mine.state_dict(), theirs.state_dict()
        if {name: value.shape for name, value in state.items()} == {name: v.shape for name, v in other.items()}:
            mine.load_state_dict(other)


def photographs(folder: Path) -> list[NDArray[np.uint8]]:
    """Reads all images of a folder and of the folders in it, reduced to 1024 px at most.

    Raises:
        Problem: there are no images.
    """
    paths = files_of(folder, "**/*")
    if not paths:
        raise Problem(f"{folder} has no image ({', '.join(IMAGES)})")
    return [read_image(path) for path in tqdm(paths, desc="reading images", leave=False)]


def draw(rng: Generator, images: Sequence[NDArray[np.uint8]], synthetic_share: float) -> Pair:
    """Draws one of the images, with `UNKNOWN` labels, or a synthetic image.

    Args:
        rng: source of all randomness.
        images: images to draw from, each H × W × 3, uint8.
        synthetic_share: share of synthetic images, 0…1.
    """
    if not images or rng.uniform() < synthetic_share:
        return synthetic(rng)
    image = images[int(rng.integers(len(images)))]
    return image, np.full(image.shape[:2], UNKNOWN, np.int32)


def in_words(agreement: float | None) -> str:
    """Returns the agreement in words."""
    return "unknown, for it sees no grain" if agreement is None else f"{agreement:.3f}"


def write_card(run: Path, arguments: argparse.Namespace, distillation: Distillation) -> None:
    """Writes card.md: what the checkpoint is and how it was made."""
    source = f"the images of {arguments.images.name}" if arguments.images else "synthetic images"
    (run / "card.md").write_text(
        f"# {run.name}\n\n{arguments.student}, distilled from {arguments.teacher} "
        f"({Path(arguments.teacher_checkpoint).name}) on {source} ({time.strftime('%Y-%m-%d')}).\n\n"
        f"{arguments.embedding_steps} steps of embeddings, {arguments.mask_steps} with masks; temperature "
        f"{arguments.temperature:g}, hard share {arguments.hard:g}; learning rate {arguments.lr:g}; seed "
        f"{arguments.seed}.\n\nAgreement with the teacher (mean IoU of the preferred masks): "
        f"{in_words(distillation.history[-1][2])}.\n"
    )


def begin(arguments: argparse.Namespace, images: Sequence[NDArray[np.uint8]], device: torch.device) -> Distillation:
    """Loads the models, claims the run's folder, and resumes the run if it was begun.

    Raises:
        Problem: a checkpoint does not fit its model, or the folder holds another run.
    """
    known = fetch(arguments.teacher_checkpoint)
    teacher = load(arguments.teacher, known, device)
    torch.manual_seed(arguments.seed)
    student, average = (models.REGISTRY[arguments.student]().to(device) for _ in range(2))
    content = {"images": digest(images), "teacher-checkpoint": known.crc32c, "student-checkpoint": "none"}
    if arguments.student_checkpoint:
        begun = fetch(arguments.student_checkpoint)
        student.load_state_dict(load(arguments.student, begun, device).state_dict())
        content["student-checkpoint"] = begun.crc32c
    run: Path = arguments.run
    claim(run, {name: getattr(arguments, name.replace("-", "_")) for name in SETTINGS}, content)
    distillation = Distillation.begin(teacher, student.train(), average, arguments.lr)
    if (run / STATE).exists():
        distillation.resume(run)
        print(f"resumed {run} at step {distillation.step}")
    return distillation


def run_distillation(arguments: argparse.Namespace) -> Distillation:
    """Runs both stages, or what is left of them.

    Raises:
        Problem: there are no steps to take or no images, a checkpoint does not fit its model, or the folder holds
            another run.
    """
    steps = arguments.embedding_steps + arguments.mask_steps
    if steps < 1:
        raise Problem("nothing is learnt in 0 steps: give --embedding-steps or --mask-steps")
    device = torch.device(arguments.device)
    images = photographs(arguments.images) if arguments.images else []
    distillation = begin(arguments, images, device)
    run: Path = arguments.run

    # Only encoders like sam_tiny's take crops smaller than the whole frame.
    both = (distillation.teacher, distillation.student)
    small = all(isinstance(sam.image_encoder, TinyImageEncoder) for sam in both)
    source = partial(draw, images=images, synthetic_share=arguments.synthetic)
    stream = partial(CropStream, crops=CROPS, crops_per_image=32, source=source, sides=MIX if small else (FRAME,))
    apart = iter(stream(VALIDATION_SEED))
    kept = [to_device(next(apart), device) for _ in range(VALIDATION_BATCHES)]
    mixture = Mixture(arguments.temperature, arguments.hard)
    numbers = stream(arguments.seed * 1_000_003 + distillation.step)
    loader = prefetched(numbers, arguments.workers)
    recent: list[float] = []
    with tqdm(initial=distillation.step, total=steps, mininterval=5) as progress:
        while distillation.step < steps:
            masks = mixture if distillation.step >= arguments.embedding_steps else None
            rate = cosine(distillation.step, steps, arguments.lr)
            recent.append(distillation.take_step(to_device(next(loader), device), masks, rate))
            progress.update()
            if distillation.step % arguments.every and distillation.step not in (arguments.embedding_steps, steps):
                continue
            loss, agreement = float(np.mean(recent)), distillation.agreement(kept)
            recent.clear()
            distillation.history.append((distillation.step, loss, agreement))
            row = {"step": distillation.step, "masks": masks is not None, "loss": loss, "agreement": agreement}
            tqdm.write(json.dumps(row))
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            distillation.save(run)
            save_checkpoint(run / f"{arguments.student}.pth", distillation.average.state_dict())
    curves = {
        "loss (embeddings, then also masks)": [(step, loss) for step, loss, _ in distillation.history],
        "agreement with the teacher": [
            (step, agreement) for step, _, agreement in distillation.history if agreement is not None
        ],
    }
    write_curves(run / "curves.png", curves, arguments.embedding_steps)
    write_card(run, arguments, distillation)
    return distillation


def parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--run", type=Path, required=True, help="folder of this run; resumed if it has a state")
    add("--teacher", default="sam_tiny", choices=models.REGISTRY, help="(default: %(default)s)")
    add("--teacher-checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"), help="file or gs:// (sam_tiny's)")
    add("--student", default="sam_nano", choices=models.REGISTRY, help="(default: %(default)s)")
    add(
        "--student-checkpoint",
        help="weights that the student begins with (default: random); its "
        "decoder is replaced by the teacher's if both are built alike",
    )
    add("--images", type=Path, help="folder of images, annotated or not (default: synthetic images)")
    add("--synthetic", type=float, default=0.3, help="share of synthetic images among yours (default: %(default)s)")
    add("--embedding-steps", type=int, default=3000, help="steps on embeddings alone (default: %(default)s)")
    add("--mask-steps", type=int, default=3000, help="steps on embeddings and masks (default: %(default)s)")
    add("--temperature", type=float, default=2.0, help="temperature of the soft comparison (default: %(default)s)")
    add("--hard", type=float, default=0.5, help="share of the hard comparison, 0…1 (default: %(default)s)")
    add("--every", type=int, default=250, help="steps between validations and saves (default: %(default)s)")
    add("--lr", type=float, default=1e-3, help="peak learning rate (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes that make batches; 0: none (default: %(default)s)")
    add("--seed", type=int, default=1)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Reads the arguments and distils."""
    arguments = parser().parse_args(given)
    if arguments.teacher != "sam_tiny" and Path(arguments.teacher_checkpoint).name == "sam_tiny.pth":
        raise Problem(f"{arguments.teacher} needs --teacher-checkpoint: weights of that model")
    distillation = run_distillation(arguments)
    print(f"Agreement with the teacher: {in_words(distillation.history[-1][2])}.")
    print(f"Checkpoint: {arguments.run / arguments.student}.pth; card.md and curves.png beside it.")
    return 0


if __name__ == "__main__":
    main_exit(main)
