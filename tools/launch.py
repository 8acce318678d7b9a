"""The command that starts TorchServe's Java, for machines (`torchserve.py`) and for the image (`image/entrypoint.py`).

Java is started directly, as ts/model_server.py would: `torchserve --foreground` does not pass SIGTERM on to it, and
its pid file allows one server per machine.
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
"""How often OpenMP's threads look for each other before they sleep, a hundredth of its default. Where
anything else wants a core, a worker would spend most of its time looking; sleeping at once costs it a fifth."""


def command(java: Path, settings: Mapping[str, str], scratch: Path, log_config: Path | None = None) -> list[str]:
    """Writes the settings into `scratch` and returns the command that serves with them.

    Args:
        java: The `java` executable.
        settings: config.properties, whole.
        scratch: Folder of this server alone, for its unpacked models and its workers' sockets, whose paths may have
            107 characters at most.
        log_config: A log4j2 configuration in place of TorchServe's own.

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
        # The workers run in this environment, whatever "python" is on PATH.
        *("--python", sys.executable, "-f", str(config), "-s", settings["model_store"]),
        # A restart registers its models again through management.
        "-ncs",
    ]


def variables(given: Mapping[str, str], logs: Path) -> dict[str, str]:
    """The environment of Java and its workers.

    Args:
        given: Variables to take over.
        logs: Folder for what TorchServe writes by itself.
    """
    # TS_CONFIG_FILE would take the place of the config file given.
    kept = {name: value for name, value in given.items() if name != "TS_CONFIG_FILE"}
    return {**CALM, **kept, "LOG_LOCATION": str(logs), "METRICS_LOCATION": str(logs)}


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it: importing ts loads much that is not needed.

    Raises:
        Problem: It is not installed.
    """
    spec = util.find_spec(name)
    if spec is None or spec.origin is None:
        raise Problem("TorchServe is not installed in this Python. Run `make setup` and use .venv.")
    return Path(spec.origin).parent
