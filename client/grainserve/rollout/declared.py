"""What should be loaded: `models.yaml` in the weights bucket, changed by compare-and-swap.

    models:
      sam_tiny:
        default: "2.0"
        previous: "1.0"              # where `rollback` goes back to
        candidate: "3.0"             # while a swap is under way,
        candidate_at: host (http://…)  # at this TorchServe
        versions:
          "1.0": {sha256: 0f3c…, loaded: false}
          "2.0": {sha256: 9b1d…, loaded: true, workers: 2}

TorchServe forgets at a restart what was registered; this does not.
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
    """Others keep changing what is declared."""

    code = "declaration_contended"


@dataclass(frozen=True)
class DeclaredVersion:
    """A version that is known.

    Attributes:
        sha256: of its archive.
        loaded: whether it should be registered; one that is not is there to go back to.
        workers: how many it should have; None for what its model config says.
    """

    sha256: str
    loaded: bool = True
    workers: int | None = None


@dataclass(frozen=True)
class DeclaredModel:
    """A model and its versions.

    Attributes:
        default: the version that requests go to which name none.
        previous: the one before it.
        candidate: one that a swap is bringing up.
        candidate_at: the TorchServe that it does so at.
        versions: all that are known, by name.
    """

    default: str | None = None
    previous: str | None = None
    candidate: str | None = None
    candidate_at: str | None = None
    versions: dict[str, DeclaredVersion] = field(default_factory=dict)

    def with_version(self, version: str, declared: DeclaredVersion) -> DeclaredModel:
        """The same with one version added or changed."""
        return replace(self, versions={**self.versions, version: declared})

    def without_version(self, version: str) -> DeclaredModel:
        """The same without one version."""
        return replace(self, versions={name: each for name, each in self.versions.items() if name != version})

    def archive(self, model: str, version: str) -> Archive:
        """The archive of a version.

        Raises:
            InvalidConfiguration: the version is not declared.
        """
        if version not in self.versions:
            known = ", ".join(self.versions) or "none"
            raise InvalidConfiguration(f"{model} has no version {version} that is declared; there is {known}")
        return Archive(model, version, self.versions[version].sha256)


Declaration = dict[str, DeclaredModel]


class Declarations:
    """The declaration in a bucket.

    Args:
        bucket: the weights bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def read(self) -> Declaration:
        """What is declared; nothing where there is no file yet.

        Raises:
            InvalidConfiguration: the file is none.
        """
        return self._read()[0]

    def change_model(self, model: str, change: Callable[[DeclaredModel], DeclaredModel]) -> DeclaredModel:
        """Changes one model and returns it as it now is."""
        return self.change(lambda every: {**every, model: change(every.get(model, DeclaredModel()))})[model]

    def change(self, change: Callable[[Declaration], Declaration]) -> Declaration:
        """Changes the declaration, anew where another was first.

        Raises:
            DeclarationContended: another was first every time.
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
    """Writes a declaration."""
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
    """Reads a declaration.

    Raises:
        InvalidConfiguration: it is none; says what is wrong `where`.
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
    """Checks that versions are what they are named as.

    Raises:
        InvalidConfiguration: one is not; says which and `where`.
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
        # What YAML brought may be anything, whatever the annotations say.
        if each.loaded not in (True, False) or not (each.workers is None or each.workers >= 1):
            raise ValueError(f"of version {version}, loaded is true or false and workers a number from 1 on")
    return versions


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is read as a number: put it in quotes")
    return name
