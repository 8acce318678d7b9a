"""The declaration: which versions TorchServe should load, kept as `models.yaml` in the weights bucket.

    models:
      sam_tiny:
        default: "2.0"
        previous: "1.0"                # `rollback` goes back to it
        candidate: "3.0"               # only during a swap
        candidate_at: host (http://…)  # TorchServe of the swap
        versions:
          "1.0": {sha256: 0f3c…, loaded: false}
          "2.0": {sha256: 9b1d…, loaded: true, workers: 2}

TorchServe forgets its registered versions at a restart; the declaration stays. Changes are made by compare-and-swap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import yaml

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.rollout.archives import Archive
from grainserve.storage.bucket import Bucket, PreconditionFailed

NAME = "models.yaml"
SHA256 = re.compile(r"[0-9a-f]{64}")
ATTEMPTS = 5


class DeclarationContended(GrainserveError):
    """Others kept changing the declaration meanwhile."""

    code = "declaration_contended"


@dataclass(frozen=True)
class DeclaredVersion:
    """A declared version.

    Attributes:
        sha256: SHA-256 of its archive, hex.
        loaded: whether TorchServe should have it registered; otherwise it is kept to go back to.
        workers: number of workers; None takes the number in its model config.
    """

    sha256: str
    loaded: bool = True
    workers: int | None = None


@dataclass(frozen=True)
class DeclaredModel:
    """A declared model.

    Attributes:
        default: version that answers requests without a version.
        previous: default version before this one.
        candidate: version that a swap is loading.
        candidate_at: TorchServe at which the swap runs.
        versions: name of each declared version → version.
    """

    default: str | None = None
    previous: str | None = None
    candidate: str | None = None
    candidate_at: str | None = None
    versions: dict[str, DeclaredVersion] = field(default_factory=dict)

    def with_version(self, version: str, declared: DeclaredVersion) -> DeclaredModel:
        """Returns a copy with one version added or changed."""
        return replace(self, versions={**self.versions, version: declared})

    def without_version(self, version: str) -> DeclaredModel:
        """Returns a copy without one version."""
        return replace(self, versions={name: each for name, each in self.versions.items() if name != version})

    def archive(self, model: str, version: str) -> Archive:
        """Returns the archive of a version.

        Raises:
            InvalidConfiguration: the version is not declared.
        """
        if version not in self.versions:
            known = ", ".join(self.versions) or "none"
            raise InvalidConfiguration(f"{model} has no version {version} that is declared; there is {known}")
        return Archive(model, version, self.versions[version].sha256)


Declaration = dict[str, DeclaredModel]


class Declarations:
    """Access to the declaration in a bucket.

    Args:
        bucket: weights bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def read(self) -> Declaration:
        """Reads the declaration; empty where there is no file yet.

        Raises:
            InvalidConfiguration: the file is no valid declaration.
        """
        return self._read()[0]

    def change_model(self, model: str, change: Callable[[DeclaredModel], DeclaredModel]) -> DeclaredModel:
        """Changes one model; returns the changed model.

        Args:
            model: name of the model.
            change: function from the present model to the changed one; may run several times.

        Raises:
            DeclarationContended: others changed the declaration at every attempt.
            InvalidConfiguration: the present or the changed declaration is not valid.
        """
        return self.change(lambda every: {**every, model: change(every.get(model, DeclaredModel()))})[model]

    def change(self, change: Callable[[Declaration], Declaration]) -> Declaration:
        """Changes the declaration; starts again where somebody else changed it meanwhile.

        Args:
            change: function from the present declaration to the changed one; may run several times.

        Raises:
            DeclarationContended: others changed the declaration at every attempt.
            InvalidConfiguration: the present or the changed declaration is not valid.
        """
        for _ in range(ATTEMPTS):
            before, generation = self._read()
            after = change(before)
            if after == before:
                return before
            check(after, "what was to be declared")
            try:
                self.bucket.replace(NAME, to_yaml(after).encode(), "application/yaml", generation)
            except PreconditionFailed:
                continue
            return after
        raise DeclarationContended(f"{NAME} in bucket {self.bucket.name!r} was changed by others {ATTEMPTS} times")

    def _read(self) -> tuple[Declaration, int]:
        stored = self.bucket.read(NAME)
        if stored is None:
            return {}, 0
        return from_yaml(stored.data.decode(), f"{NAME} in bucket {self.bucket.name!r}"), stored.generation


def to_yaml(declaration: Declaration) -> str:
    """Writes a declaration as YAML."""
    models = {
        model: {name: value for name, value in vars(declared).items() if name != "versions" and value is not None}
        | {
            "versions": {
                version: {name: value for name, value in vars(each).items() if value is not None}
                for version, each in declared.versions.items()
            }
        }
        for model, declared in declaration.items()
    }
    return yaml.safe_dump({"models": models}, sort_keys=True)


def from_yaml(text: str, where: str) -> Declaration:
    """Reads a declaration from YAML.

    Args:
        text: content of the file.
        where: name of the file, for errors.

    Raises:
        InvalidConfiguration: the text is no valid declaration.
    """
    try:
        read = yaml.safe_load(text)
        declaration = {
            _text(model): DeclaredModel(**{**given, "versions": _versions(given["versions"])})
            for model, given in read["models"].items()
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidConfiguration(
            f"{where} declares no models ({error}): see `grainserve models apply --help`"
        ) from None
    check(declaration, where)
    return declaration


def check(declaration: Declaration, where: str) -> None:
    """Checks that default, previous and candidate are listed versions, and that the default version is loaded.

    Args:
        declaration: declaration to check.
        where: name of the declaration, for errors.

    Raises:
        InvalidConfiguration: a check fails.
    """
    for model, declared in declaration.items():
        named = {declared.default, declared.previous, declared.candidate} - {None}
        if unknown := named - declared.versions.keys():
            raise InvalidConfiguration(
                f"{where}: {model} names versions that it does not list: {sorted(map(str, unknown))}"
            )
        if declared.default is not None and not declared.versions[declared.default].loaded:
            raise InvalidConfiguration(f"{where}: the default version of {model}, {declared.default}, is not loaded")


def _versions(given: dict[str, dict[str, object]]) -> dict[str, DeclaredVersion]:
    versions = {_text(version): DeclaredVersion(**each) for version, each in given.items()}  # type: ignore[arg-type]
    for version, each in versions.items():
        if not SHA256.fullmatch(each.sha256):
            raise ValueError(f"the sha256 of version {version} is not 64 hex digits")
        # YAML may bring any type, whatever the annotations say.
        if each.loaded not in (True, False) or not (each.workers is None or each.workers >= 1):
            raise ValueError(f"of version {version}, loaded is true or false and workers a number from 1 on")
    return versions


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is read as a number: put it in quotes")
    return name
