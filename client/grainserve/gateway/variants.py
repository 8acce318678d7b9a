"""Variants: the names under which a deployment offers its models for prompts, such as fast and accurate."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from grainserve.errors import GrainserveError
from grainserve.gateway.probe import Probe
from grainserve.torchserve.management import Management

log = logging.getLogger(__name__)

REMEMBERED = 5.0
"""Seconds for which a look at what is registered is reused."""


class UnknownVariant(GrainserveError, ValueError):
    """The deployment has no such variant."""

    code = "unknown_variant"


class VariantUnavailable(GrainserveError):
    """TorchServe lacks the variant's model, or the gateway has no TorchServe."""

    code = "variant_unavailable"


class Variants:
    """The variants of a deployment.

    Args:
        models: model by variant, the default one first.
        management: TorchServe's management; None where it is out of reach.
    """

    def __init__(self, models: Mapping[str, str], management: Management | None) -> None:
        self._models = dict(models)
        self._management = management
        self._look = Probe(self._registered, REMEMBERED)
        self._missing: set[str] = set()

    @property
    def default(self) -> str:
        """The variant of requests that name none."""
        return next(iter(self._models))

    def model(self, variant: str) -> str:
        """Returns the model of a variant.

        Raises:
            UnknownVariant: there is no such variant; the message names those that there are.
        """
        if variant not in self._models:
            raise UnknownVariant(f"model_type: {variant[:64]!r} is none of {', '.join(self._models)}")
        return self._models[variant]

    async def listed(self) -> list[dict[str, str | bool | None]]:
        """Describes each variant: its name, its model, and whether TorchServe has the model (None: it cannot be asked).

        A model that TorchServe lacks is logged, once until that changes.
        """
        there = await self._look.answer(otherwise=None)
        return [
            {"name": name, "model": model, "available": None if there is None else model in there}
            for name, model in self._models.items()
        ]

    def _registered(self) -> set[str] | None:
        if self._management is None:
            return None
        try:
            there = set(self._management.models())
        except GrainserveError as error:
            log.warning("whether the variants' models are registered is not known: %s", error)
            return None
        missing = {f"{name} ({model})" for name, model in self._models.items() if model not in there}
        if missing - self._missing:
            log.warning(
                "TorchServe lacks the model of variant %s: requests for it are refused until it is registered",
                ", ".join(sorted(missing)),
            )
        self._missing = missing
        return there
