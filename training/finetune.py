"""Fine-tunes a SAM on your own annotated images.

    python -m training.finetune --data rock --run training/runs/rock
    python -m training.finetune --model sam_vit_h --checkpoint vit_h.pth --data rock --run training/runs/rock_h
    python -m training.finetune --data rock --run training/runs/rock --encoder lora      # the encoder learns, too

The folder has images with label maps (A17.jpg, A17_labels.png, 16 bit: 0 is no grain) or one COCO file; ten well
outlined images are a beginning. A fifth of them is kept apart and tells when to stop. What the model knew is kept
alive by synthetic images among yours (--synthetic).

Interrupt it at will, the same command resumes. The run's folder then holds MODEL.pth, the best checkpoint, which the
handler loads as it is; card.md, which says how it came about; curves.png; and log.jsonl. To serve it:

    grainserve weights push training/runs/rock/sam_tiny.pth --name rock.pth
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from segment_anything.modeling import Sam
from torch import Tensor, nn
from tqdm import tqdm

from grain_handler import models, weights
from grain_handler.tiny_encoder import TinyImageEncoder
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.adapters import add_adapters, merged_state
from training.checkpoints import STATE, claim, save, save_checkpoint, write_curves
from training.crops import FRAME, MIX, Batch, CropStream, Pair, prefetched, synthetic
from training.folder import Annotated, read, split
from training.forward import decode, embed, to_device
from training.losses import coverage, prompt_loss
from training.schedule import cosine

ENCODERS = ("frozen", "lora", "full")
VALIDATION_BATCHES = 6
CROPS = 8
"""Of 256 px in a batch, or their worth in larger ones."""


@dataclass
class Tuning:
    """A run: what is learnt, and how far it is.

    Attributes:
        sam: The model; with adapters where the encoder has them.
        optimizer: Of what is learnt.
        encoder: One of `ENCODERS`.
        step: Steps taken.
        best: Best validation figure, mean IoU of the mask that the model itself prefers.
        best_step: When that was.
        history: (step, loss, validation figure) of each validation.
    """

    sam: Sam
    optimizer: torch.optim.Optimizer
    encoder: str
    step: int = 0
    best: float = 0.0
    best_step: int = 0
    history: list[tuple[int, float, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, sam: Sam, encoder: str, rate: float) -> Tuning:
        """Chooses what is learnt: the mask decoder always, the encoder as told, the prompt encoder never."""
        for parameter in sam.parameters():
            parameter.requires_grad_(False)
        if encoder == "lora":
            add_adapters(sam.image_encoder)
        elif encoder == "full":
            sam.image_encoder.requires_grad_(True)
        sam.mask_decoder.requires_grad_(True)
        learnt = [parameter for parameter in sam.parameters() if parameter.requires_grad]
        return cls(sam, torch.optim.AdamW(learnt, lr=rate, weight_decay=0.01), encoder)

    def save(self, run: Path) -> None:
        """Writes what the run is resumed from."""
        state = {"sam": self.sam.state_dict(), "optimizer": self.optimizer.state_dict()}
        figures = {"step": self.step, "best": self.best, "best_step": self.best_step, "history": self.history}
        save(run / STATE, state | figures)

    def resume(self, run: Path) -> None:
        """Goes back to where `save` was last called."""
        state = torch.load(run / STATE, map_location=self.sam.device, weights_only=True)
        self.sam.load_state_dict(state["sam"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        self.history = [(step, loss, figure) for step, loss, figure in state["history"]]

    def loss(self, batch: Batch) -> tuple[Tensor, float]:
        """The loss of a batch, and the mean IoU of the masks that the model prefers."""
        device = self.sam.device.type
        with torch.autocast(device, dtype=torch.bfloat16), torch.set_grad_enabled(self.encoder != "frozen"):
            embedding = embed(self.sam, batch)
        with torch.autocast(device, dtype=torch.bfloat16):
            logits, scores = decode(self.sam, embedding, batch)
        truth = coverage(batch.labels, batch.targets).flatten(0, 1)
        loss, (_, chosen, _) = prompt_loss(logits, scores, truth, truth.flatten(1).sum(1) >= 4)
        return loss, float(chosen)

    def take_step(self, batch: Batch, rate: float) -> float:
        """One step of the optimizer; the loss.

        Raises:
            FloatingPointError: If the gradient is not finite; nothing was changed.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, _ = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_([p for p in self.sam.parameters() if p.requires_grad], 1.0)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient is {norm.item()} at step {self.step}")
        self.optimizer.step()
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def validate(self, batches: Sequence[Batch]) -> float:
        """Mean IoU of the preferred masks on images that nothing is learnt from."""
        figures = [self.loss(batch)[1] for batch in batches]
        return float(np.nanmean(figures))


def draw(rng: Generator, images: Sequence[Annotated], synthetic_share: float) -> Pair:
    """One of the images, or now and then a synthetic one."""
    if rng.uniform() < synthetic_share:
        return synthetic(rng)
    chosen = images[int(rng.integers(len(images)))]
    return chosen.image, chosen.labels


def batches(images: Sequence[Annotated], seed: int, tiny: bool, synthetic_share: float) -> CropStream:
    """An endless stream; only sam_tiny's encoder takes anything smaller than the whole frame."""
    source = partial(draw, images=images, synthetic_share=synthetic_share)
    return CropStream(seed, crops=CROPS, crops_per_image=16, source=source, sides=MIX if tiny else (FRAME,))


def write_card(
    run: Path, arguments: argparse.Namespace, learnt: Sequence[str], kept: Sequence[str], tuning: Tuning
) -> None:
    """Says what the checkpoint is and how it came about."""
    first = tuning.history[0][2]
    (run / "card.md").write_text(
        f"# {run.name}\n\n{arguments.model}, fine-tuned from {Path(arguments.checkpoint).name} on {len(learnt)} images "
        f"({time.strftime('%Y-%m-%d')}). Encoder: {arguments.encoder}; {100 * arguments.synthetic:.0f} % synthetic "
        f"images among them; seed {arguments.seed}; learning rate {arguments.lr:g}.\n\n"
        f"IoU of the preferred mask on {len(kept)} images kept apart: {first:.3f} before, {tuning.best:.3f} at step "
        f"{tuning.best_step}, the step this checkpoint is from.\n\n"
        f"Learnt from: {', '.join(learnt)}. Kept apart: {', '.join(kept)}.\n"
    )


def run_tuning(arguments: argparse.Namespace, images: Sequence[Annotated]) -> Tuning:
    """Trains until the validation figure no longer rises, or the steps are taken."""
    same = ("model", "checkpoint", "data", "encoder", "synthetic", "seed")
    claim(arguments.run, {name: getattr(arguments, name) for name in same})
    device = torch.device(arguments.device)
    torch.manual_seed(arguments.seed)
    learnt, kept = split(images, 0.2, arguments.seed)
    sam = models.load(arguments.model, weights.fetch(arguments.checkpoint, Path()), device)
    tuning = Tuning.begin(sam, arguments.encoder, arguments.lr)
    run: Path = arguments.run
    tiny = isinstance(sam.image_encoder, TinyImageEncoder)
    apart: Iterator[Batch] = iter(batches(kept, 990_000, tiny, 0.0))
    kept_batches = [to_device(next(apart), device) for _ in range(VALIDATION_BATCHES)]
    if (run / STATE).exists():
        tuning.resume(run)
        print(f"resumed {run} at step {tuning.step}")
    else:
        tuning.history.append((0, float("nan"), tuning.validate(kept_batches)))
        tuning.best = tuning.history[0][2]
        save_checkpoint(run / f"{arguments.model}.pth", merged_state(sam))
    stream = batches(learnt, arguments.seed * 1_000_003 + tuning.step, tiny, arguments.synthetic)
    loader = prefetched(stream, arguments.workers)
    recent: list[float] = []
    with tqdm(initial=tuning.step, total=arguments.steps, mininterval=5) as progress:
        while tuning.step < arguments.steps and tuning.step - tuning.best_step < arguments.patience:
            rate = cosine(tuning.step, arguments.steps, arguments.lr)
            recent.append(tuning.take_step(to_device(next(loader), device), rate))
            progress.update()
            if tuning.step % arguments.every and tuning.step != arguments.steps:
                continue
            figure = tuning.validate(kept_batches)
            row: dict[str, Any] = {"step": tuning.step, "loss": float(np.mean(recent)), "held_out_iou": figure}
            tuning.history.append((tuning.step, row["loss"], figure))
            recent.clear()
            if figure > tuning.best:
                tuning.best, tuning.best_step = figure, tuning.step
                save_checkpoint(run / f"{arguments.model}.pth", merged_state(sam))
            tqdm.write(json.dumps(row))
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            tuning.save(run)
    curves = {
        "loss": [(step, loss) for step, loss, _ in tuning.history],
        "IoU on images kept apart": [(step, figure) for step, _, figure in tuning.history],
    }
    write_curves(run / "curves.png", curves, tuning.best_step)
    write_card(run, arguments, [each.name for each in learnt], [each.name for each in kept], tuning)
    return tuning


def parser() -> argparse.ArgumentParser:
    """The command line."""
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
    add("--encoder", default="frozen", choices=ENCODERS, help="what of the image encoder learns (default: %(default)s)")
    add("--steps", type=int, default=2000, help="at most (default: %(default)s)")
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
    before = tuning.history[0][2]
    print(f"IoU on images kept apart: {before:.3f} before, {tuning.best:.3f} at step {tuning.best_step}.")
    print(f"Checkpoint: {arguments.run / arguments.model}.pth; card.md and curves.png beside it.")
    return 0


if __name__ == "__main__":
    main_exit(main)
