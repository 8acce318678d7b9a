"""Packs a model archive: python -m tools.mar sam_tiny --version 1.0.

The archive holds code and config only, never weights, so that registering it is instant:

    service.py          the TorchServe entry (a copy of grain_handler/service.py: TorchServe wants it at the top)
    grain_handler/      the package, so that two versions with different code serve side by side
    model-config.yaml   the model config
    MAR-INF/MANIFEST.json

The same content always gives the same bytes, whenever and wherever it is packed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools.problem import Problem, main_exit

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "handler" / "grain_handler"
MODEL_STORE = ROOT / "model_store"
# The file name that TorchServe's examples use; TorchServe finds the file through the manifest.
CONFIG_NAME = "model-config.yaml"
_ARCHIVER = "from model_archiver.model_packaging import generate_model_archive; generate_model_archive()"
# The earliest date that zip can store.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o644 << 16


def pack(
    model: str,
    version: str,
    *,
    config: Path | None = None,
    package: Path = PACKAGE,
    out: Path | None = None,
) -> Path:
    """Packs a model archive.

    Args:
        model: TorchServe model name, such as "sam_tiny".
        version: TorchServe model version, such as "1.0".
        config: model config; None: `config/<model>.yaml`.
        package: folder of the package `grain_handler` to pack.
        out: file to write; None: `model_store/<model>-<version>.mar`.

    Returns:
        The file written. It appears complete or not at all.

    Raises:
        Problem: the config or the handler is missing, or the archiver refuses.
    """
    config = config if config is not None else ROOT / "config" / f"{model}.yaml"
    out = out if out is not None else MODEL_STORE / f"{model}-{version}.mar"
    entry = package / "service.py"
    for needed, what in ((config, "the model config"), (entry, "the handler")):
        if not needed.is_file():
            raise Problem(f"Cannot pack {model}: {what} {needed} is not there.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mar-") as scratch:
        staged = _stage(Path(scratch), package, config)
        archive = _archive(Path(scratch), model, version, staged)
        partial = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            _rewrite(archive, partial)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)  # a leftover of a full disk would keep the disk full
    return out


def name_and_version(archive: Path) -> tuple[str, str]:
    """Returns the model name and the version in an archive's manifest."""
    with zipfile.ZipFile(archive) as opened:
        model = json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"]
    return model["modelName"], model["modelVersion"]


def _stage(scratch: Path, package: Path, config: Path) -> Path:
    """Copies the content of the archive to a folder. The archiver drops the outermost folder, hence `files`."""
    staged = scratch / "staged"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    # copyfile copies no dates: a file of a reproducible checkout may be dated before 1980, which zip cannot store.
    shutil.copytree(package, staged / "files" / "grain_handler", ignore=ignored, copy_function=shutil.copyfile)
    shutil.copyfile(package / "service.py", staged / "service.py")
    shutil.copyfile(config, staged / CONFIG_NAME)
    return staged


def _archive(scratch: Path, model: str, version: str, staged: Path) -> Path:
    # The archiver works in <temporary folder>/<model name> and deletes what it finds there, also the files of another
    # run. So it gets a process and a temporary folder of its own.
    work = scratch / "work"
    work.mkdir()
    command = [
        *(sys.executable, "-c", _ARCHIVER),
        *("--model-name", model, "--version", version),
        *("--handler", str(staged / "service.py"), "--extra-files", str(staged / "files")),
        *("--config-file", str(staged / CONFIG_NAME)),
        # Not "python3": workers would run the python3 on PATH, not the Python that TorchServe was given.
        *("--export-path", str(scratch), "--runtime", "python"),
    ]
    environment = {**os.environ, "TMPDIR": str(work)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    archive = scratch / f"{model}.mar"
    if answer.returncode != 0 or not archive.is_file():
        lines = (answer.stderr or answer.stdout).strip().splitlines() or [f"exit code {answer.returncode}"]
        raise Problem(f"torch-model-archiver could not pack {model}: {lines[-1]}")
    return archive


def _rewrite(archive: Path, out: Path) -> None:
    """Rewrites the archive with a fixed order, fixed dates and fixed file modes, which else differ from run to run."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "MAR-INF/MANIFEST.json":
                manifest = json.loads(data)
                manifest["createdOn"] = "01/01/1980 00:00:00"
                data = json.dumps(manifest, indent=2, sort_keys=True).encode()
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = _FILE_MODE
            target.writestr(info, data)


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m tools.mar", description="Packs a model archive (.mar).")
    parser.add_argument("model", help="model name, such as sam_tiny")
    parser.add_argument("--version", default="1.0", help="model version (default 1.0)")
    parser.add_argument("--config", type=Path, help="model config (default config/<model>.yaml)")
    parser.add_argument("--out", type=Path, help="file to write (default model_store/<model>-<version>.mar)")
    arguments = parser.parse_args()
    out = pack(arguments.model, arguments.version, config=arguments.config, out=arguments.out)
    print(f"{out}: {arguments.model} {arguments.version}, {out.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    main_exit(main)
