"""The command that starts TorchServe's Java, for `tools/torchserve.py` and for the image (`image/entrypoint.py`).

It starts Java directly, as ts/model_server.py does. `torchserve --foreground` does not pass SIGTERM on to Java, and its
pid file allows only one server per machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import util
from pathlib import Path

from tools import properties
from tools.problem import Problem

CALM = {"GOMP_SPINCOUNT": "3000"}
"""Rounds that OpenMP's threads spin before they sleep, a hundredth of the default. With the default, a worker spends
most of its time spinning where other processes need the cores; without any spinning it loses a fifth of its speed."""


def command(java: Path, settings: Mapping[str, str], scratch: Path, log_config: Path | None = None) -> list[str]:
    """Writes the settings into `scratch` and returns the command that serves with them.

    Args:
        java: `java` executable.
        settings: all settings of config.properties.
        scratch: folder of this server alone, for its unpacked models and its workers' sockets; the paths of sockets
            may have 107 characters at most.
        log_config: log4j2 configuration; None: TorchServe's own.

    Raises:
        Problem: TorchServe is not installed in this Python.
    """
    home = package_folder("ts").parent
    config = scratch / "config.properties"
    config.write_text(properties.text(settings))
    return [
        str(java),
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={scratch}",
        *([f"-Dlog4j2.configurationFile={log_config.as_uri()}"] if log_config else []),
        *settings["vmargs"].split(),
        *("-cp", f"{home / 'ts' / 'frontend'}{os.sep}*", "org.pytorch.serve.ModelServer"),
        # The workers run in this Python environment, even if another "python" is on PATH.
        *("--python", sys.executable, "-f", str(config), "-s", settings["model_store"]),
        # -ncs: no snapshots. After a restart, models are registered again through management.
        "-ncs",
    ]


def variables(given: Mapping[str, str], logs: Path) -> dict[str, str]:
    """Returns the environment of Java and its workers.

    Args:
        given: variables to take over.
        logs: folder for the logs that TorchServe writes itself.
    """
    # TS_CONFIG_FILE would override the config file of the command.
    kept = {name: value for name, value in given.items() if name != "TS_CONFIG_FILE"}
    return {**CALM, **kept, "LOG_LOCATION": str(logs), "METRICS_LOCATION": str(logs)}


def package_folder(name: str) -> Path:
    """Finds the folder of an installed package without importing it: importing ts loads much that is not needed.

    Raises:
        Problem: the package is not installed.
    """
    spec = util.find_spec(name)
    if spec is None or spec.origin is None:
        raise Problem("TorchServe is not installed in this Python. Run `make setup` and use .venv.")
    return Path(spec.origin).parent
