"""The bill of materials: every package of this environment with its version and licence, as CycloneDX.

    python -m tools.sbom docs/sbom.cdx.json

The CycloneDX tool is run from an environment of its own, and is no dependency of anything.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.problem import Problem, main_exit

OURS = {"grainserve", "grainserve-handler"}


def tidy(bill: dict[str, Any]) -> dict[str, Any]:
    """The bill without what differs between machines: addresses, paths, and the packages of this repository."""
    kept = ("type", "name", "version", "licenses", "purl", "bom-ref")
    components = [
        {key: component[key] for key in kept if key in component}
        for component in bill["components"]
        if component["name"] not in OURS
    ]
    references = {component["bom-ref"] for component in components}
    dependencies = [
        each | {"dependsOn": [one for one in each.get("dependsOn", ()) if one in references]}
        for each in bill["dependencies"]
        if each["ref"] in references
    ]
    head = {key: bill[key] for key in ("$schema", "bomFormat", "specVersion", "version")}
    return head | {"components": components, "dependencies": dependencies}


def main() -> int:
    """Writes the bill."""
    parser = argparse.ArgumentParser(prog="python -m tools.sbom", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    command = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", "cyclonedx-bom>=7,<8"]
    command += ["cyclonedx-py", "environment", "--output-reproducible", "--output-format", "JSON", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"The CycloneDX tool failed:\n{done.stderr[-2000:]}")
    bill = tidy(json.loads(done.stdout))
    out.write_text(json.dumps(bill, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(bill['components'])} packages in {out}")
    return 0


if __name__ == "__main__":
    main_exit(main)
