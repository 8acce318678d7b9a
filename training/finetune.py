"""Fine-tunes a SAM on your own annotated images.

    python -m training.finetune --data rock --run training/runs/rock
    python -m training.finetune --model sam_vit_h --checkpoint vit_h.pth --data rock --run training/runs/rock_h
    python -m training.finetune --data rock --run training/runs/rock_lora --encoder lora    # the encoder learns, too

The folder holds images with label maps (A17.jpg, A17_labels.png, 16 bit: 0 is no grain) or one COCO file; ten well
outlined images are a beginning. A fifth of them is kept apart and tells when to stop. Synthetic images among yours
(--synthetic) keep the model from forgetting what it knew. sam_tiny's seeds, the points at which it is prompted, are
trained with it; make the seed head of a large model afterwards: python -m training.seeds.

You may interrupt it. The same command resumes the run, with the same images, weights and settings; only --every,
--patience, --workers and --device may change. A run that lost patience goes on with more patience, but one that took
its --steps is done, because the learning rate falls to zero over them. Its folder then holds MODEL.pth, the best
checkpoint, which the handler can load; card.md, which says how it was made; curves.png; and log.jsonl. To serve it:

    grainserve weights push training/runs/rock/sam_tiny.pth --name rock.pth
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from segment_anything.modeling import Sam
from torch import Tensor, nn
from tqdm import tqdm

from grain_handler.sam import models
from grain_handler.sam.tiny_encoder import TinyImageEncoder, predicts_seeds
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.adapters import add_adapters, merged_state
from training.checkpoints import STATE, claim, digest, fetch, load, save, save_checkpoint, write_curves
from training.crops import FRAME, Batch, CropStream, Pair, prefetched, synthetic
from training.fitting import descend
from training.folder import Annotated, read, split
from training.forward import decode, embed, meant, to_device
from training.losses import dense_targets, prompt_loss, seed_loss
from training.schedule import cosine
from training.train import PROMPTS, SIDES, window

ENCODERS = ("frozen", "lora", "full")
SETTINGS = ("model", "encoder", "synthetic", "seed", "steps", "lr")
"""Options that must stay the same when a run is resumed."""

AVERAGE_DECAY = 0.99
VALIDATION_BATCHES = 16
CROPS = 8
"""Crops of 256 px in a batch, or fewer larger crops of the same area."""
SIDE = 16
"""Side of the window in which seeds are validated, tokens: that of nearly all seeds when the model serves."""
SEEDS = 0.5
"""Weight of the seed map's loss; that of the masks has the weight 1."""


def _with_gradient(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Makes torch compute the gradient of a layer's input, although nothing uses it.

    Without it, behind a frozen encoder, torch 2.13's group normalisation reads outside its arrays on the CPU (bfloat16
    in channels-last order), and the process crashes.
    """
    (features,) = inputs
    if torch.is_grad_enabled() and not features.requires_grad:
        features = features.detach().requires_grad_(True)
    return (features,)


@dataclass(frozen=True)
class Validation:
    """Figures of a validation.

    Attributes:
        step: steps taken.
        loss: mean loss since the last validation.
        held_out_loss: loss on the images kept apart.
        held_out_iou: mean IoU of the preferred masks on the images kept apart.
    """

    step: int
    loss: float
    held_out_loss: float
    held_out_iou: float


@dataclass
class Tuning:
    """The state of a run.

    Attributes:
        sam: model, with adapters if the encoder has them.
        encoder: one of `ENCODERS`.
        learnt: parameters that learn.
        average: moving averages of these parameters. They are validated and written, because they are better and
            steadier.
        optimizer: optimizer of these parameters.
        step: steps taken.
        history: all validations, the first before any step.
    """

    sam: Sam
    encoder: str
    learnt: list[nn.Parameter]
    average: list[Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: list[Validation] = field(default_factory=list)

    @classmethod
    def begin(cls, sam: Sam, encoder: str, rate: float) -> Tuning:
        """Begins a run. Mask decoder and seed head always learn, the prompt encoder never.

        Args:
            sam: model to tune; changed.
            encoder: how the image encoder learns, one of `ENCODERS`.
            rate: learning rate.
        """
        for parameter in sam.parameters():
            parameter.requires_grad_(False)
        if encoder == "lora":
            add_adapters(sam.image_encoder)
        elif encoder == "full":
            sam.image_encoder.requires_grad_(True)
        if predicts_seeds(sam.image_encoder):
            sam.image_encoder.seed_head.requires_grad_(True)
            sam.image_encoder.seed_head.register_forward_pre_hook(_with_gradient)
        sam.mask_decoder.requires_grad_(True)
        learnt = [parameter for parameter in sam.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learnt, lr=rate, weight_decay=0.01)
        return cls(sam, encoder, learnt, [parameter.detach().clone() for parameter in learnt], optimizer)

    @property
    def best(self) -> Validation:
        """The validation with the least loss on the images kept apart."""
        return min(self.history, key=lambda each: each.held_out_loss)

    def save(self, run: Path) -> None:
        """Writes the state from which the run is resumed."""
        state = {"sam": self.sam.state_dict(), "average": self.average, "optimizer": self.optimizer.state_dict()}
        save(run / STATE, state | {"step": self.step, "history": [asdict(each) for each in self.history]})

    def resume(self, run: Path) -> None:
        """Restores the state that `save` last wrote."""
        state = torch.load(run / STATE, map_location=self.sam.device, weights_only=True)
        self.sam.load_state_dict(state["sam"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step = state["average"], state["step"]
        self.history = [Validation(**each) for each in state["history"]]

    @contextmanager
    def averaged(self) -> Iterator[Sam]:
        """Yields the model with the averages in place of the learnt parameters, for as long as the context lasts."""
        now = [parameter.data for parameter in self.learnt]
        for parameter, mean in zip(self.learnt, self.average, strict=True):
            parameter.data = mean
        try:
            yield self.sam
        finally:
            for parameter, value in zip(self.learnt, now, strict=True):
                parameter.data = value

    @property
    def seeds(self) -> bool:
        """Whether the model predicts seeds, so that prompts see windows of a crop."""
        return predicts_seeds(self.sam.image_encoder)

    def loss(self, batch: Batch, side: int | None) -> tuple[Tensor, float]:
        """Returns the loss of a batch, and the mean IoU of the masks that the model prefers.

        Args:
            batch: crops with their prompts.
            side: side of the window that a prompt sees, tokens; None: it sees the whole crop.
        """
        with torch.autocast(self.sam.device.type, dtype=torch.bfloat16):
            embedding, maps = embed(self.sam, batch)
            logits, scores = decode(self.sam, embedding, batch, side)
        loss, (_, chosen, _) = prompt_loss(logits, scores, *meant(batch, side))
        if maps is not None:
            loss = loss + SEEDS * seed_loss(maps.float(), dense_targets(batch.labels))
        return loss, float(chosen)

    def take_step(self, batch: Batch, rate: float) -> float:
        """Takes a step of the optimizer and of the averages; returns the loss.

        Args:
            batch: crops with their prompts.
            rate: learning rate.

        Raises:
            FloatingPointError: the gradient is not finite; nothing was changed.
        """
        loss, _ = self.loss(batch, window(batch.images.shape[-1]) if self.seeds else None)
        follow = zip(self.average, self.learnt, strict=True)
        descend(loss, self.optimizer, rate, self.step, averages=follow, decay=AVERAGE_DECAY)
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def validate(self, batches: Sequence[Batch], loss: float) -> Validation:
        """Measures the averaged model on the images kept apart, and adds the figures to the history.

        Args:
            batches: batches of these images.
            loss: mean loss of the steps since the last validation.

        Returns:
            The new entry of the history.
        """
        with self.averaged():
            figures = [self.loss(batch, SIDE if self.seeds else None) for batch in batches]
        held_out_loss = float(np.mean([float(one) for one, _ in figures]))
        found = Validation(self.step, loss, held_out_loss, float(np.nanmean([iou for _, iou in figures])))
        self.history.append(found)
        return found


def draw(rng: Generator, images: Sequence[Annotated], synthetic_share: float) -> Pair:
    """Draws one of the images, or a synthetic one.

    Args:
        rng: source of all randomness.
        images: images to draw from.
        synthetic_share: share of synthetic images, 0…1.
    """
    if rng.uniform() < synthetic_share:
        return synthetic(rng)
    chosen = images[int(rng.integers(len(images)))]
    return chosen.image, chosen.labels


def batches(images: Sequence[Annotated], seed: int, sam: Sam, synthetic_share: float) -> CropStream:
    """Makes an endless stream of batches. Only encoders like sam_tiny's get crops smaller than the whole frame.

    Args:
        images: images to draw from.
        seed: seed of the stream.
        sam: model that the batches are for.
        synthetic_share: share of synthetic images, 0…1.
    """
    source = partial(draw, images=images, synthetic_share=synthetic_share)
    prompts = PROMPTS if predicts_seeds(sam.image_encoder) else 8
    sides = SIDES if isinstance(sam.image_encoder, TinyImageEncoder) else (FRAME,)
    return CropStream(seed, crops=CROPS, prompts=prompts, crops_per_image=16, source=source, sides=sides)


def write_card(
    run: Path, arguments: argparse.Namespace, learnt: Sequence[str], kept: Sequence[str], tuning: Tuning
) -> None:
    """Writes card.md: what the checkpoint is and how it was made."""
    first, best = tuning.history[0], tuning.best
    (run / "card.md").write_text(
        f"# {run.name}\n\n{arguments.model}, fine-tuned from {Path(arguments.checkpoint).name} on {len(learnt)} images "
        f"({time.strftime('%Y-%m-%d')}). Encoder: {arguments.encoder}; {100 * arguments.synthetic:.0f} % synthetic "
        f"images among them; seed {arguments.seed}; learning rate {arguments.lr:g}.\n\n"
        f"IoU of the preferred mask on {len(kept)} images kept apart: {first.held_out_iou:.3f} before, "
        f"{best.held_out_iou:.3f} at step {best.step}, the step of the least loss on them, which this checkpoint is "
        f"from ({first.held_out_loss:.3f} before, {best.held_out_loss:.3f} then).\n\n"
        f"Learnt from: {', '.join(learnt)}. Kept apart: {', '.join(kept)}.\n"
    )


def run_tuning(arguments: argparse.Namespace, images: Sequence[Annotated]) -> Tuning:
    """Trains until the validation loss no longer falls, or the steps are taken.

    Raises:
        Problem: there are too few images, the checkpoint does not fit the model, or the folder holds another run.
    """
    device = torch.device(arguments.device)
    learnt, kept = split(images, arguments.seed)
    checkpoint = fetch(arguments.checkpoint)
    sam = load(arguments.model, checkpoint, device)
    run: Path = arguments.run
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    data = digest(part for each in images for part in (each.name, each.image, each.labels))
    claim(run, settings, {"checkpoint": checkpoint.crc32c, "data": data})
    torch.manual_seed(arguments.seed)
    tuning = Tuning.begin(sam, arguments.encoder, arguments.lr)
    apart: Iterator[Batch] = iter(batches(kept, 990_000, sam, 0.0))
    kept_batches = [to_device(next(apart), device) for _ in range(VALIDATION_BATCHES)]
    if (run / STATE).exists():
        tuning.resume(run)
        print(f"resumed {run} at step {tuning.step}")
    else:
        tuning.validate(kept_batches, float("nan"))
        save_checkpoint(run / f"{arguments.model}.pth", merged_state(sam))
    stream = batches(learnt, arguments.seed * 1_000_003 + tuning.step, sam, arguments.synthetic)
    loader = prefetched(stream, arguments.workers)
    recent: list[float] = []
    with tqdm(initial=tuning.step, total=arguments.steps, mininterval=5) as progress:
        while tuning.step < arguments.steps and tuning.step - tuning.best.step < arguments.patience:
            rate = cosine(tuning.step, arguments.steps, arguments.lr)
            recent.append(tuning.take_step(to_device(next(loader), device), rate))
            progress.update()
            if tuning.step % arguments.every and tuning.step != arguments.steps:
                continue
            found = tuning.validate(kept_batches, float(np.mean(recent)))
            recent.clear()
            if tuning.best is found:
                with tuning.averaged() as average:
                    save_checkpoint(run / f"{arguments.model}.pth", merged_state(average))
            row = json.dumps(asdict(found))
            tqdm.write(row)
            with (run / "log.jsonl").open("a") as log:
                log.write(row + "\n")
            tuning.save(run)
    curves = {
        "loss": [(each.step, each.loss) for each in tuning.history],
        "loss on images kept apart": [(each.step, each.held_out_loss) for each in tuning.history],
        "IoU on images kept apart": [(each.step, each.held_out_iou) for each in tuning.history],
    }
    write_curves(run / "curves.png", curves, tuning.best.step)
    write_card(run, arguments, [each.name for each in learnt], [each.name for each in kept], tuning)
    return tuning


def parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--data", type=Path, required=True, help="folder of annotated images")
    add("--run", type=Path, required=True, help="folder of this run; resumed if it has a state")
    add("--model", default="sam_tiny", choices=models.REGISTRY, help="(default: %(default)s)")
    add(
        "--checkpoint",
        default=str(ROOT / "weights" / "sam_tiny.pth"),
        help="weights to begin with (default: sam_tiny's)",
    )
    add("--encoder", default="frozen", choices=ENCODERS, help="how the image encoder learns (default: %(default)s)")
    add("--steps", type=int, default=2000, help="most steps (default: %(default)s)")
    add("--every", type=int, default=100, help="steps between validations (default: %(default)s)")
    add("--patience", type=int, default=600, help="steps without a better validation before the end (%(default)s)")
    add("--lr", type=float, default=2e-4, help="peak learning rate (default: %(default)s)")
    add("--synthetic", type=float, default=0.3, help="share of synthetic images among yours (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes that make batches; 0: none (default: %(default)s)")
    add("--seed", type=int, default=1)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Reads the arguments and trains."""
    arguments = parser().parse_args(given)
    if arguments.model != "sam_tiny" and Path(arguments.checkpoint).name == "sam_tiny.pth":
        raise Problem(f"{arguments.model} needs --checkpoint: weights of that model")
    tuning = run_tuning(arguments, read(arguments.data))
    before, best = tuning.history[0].held_out_iou, tuning.best
    print(f"IoU on images kept apart: {before:.3f} before, {best.held_out_iou:.3f} at step {best.step}.")
    print(f"Checkpoint: {arguments.run / arguments.model}.pth; card.md and curves.png beside it.")
    return 0


if __name__ == "__main__":
    main_exit(main)
