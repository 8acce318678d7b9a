"""Changes one thing at a time in the modules that answers rest on, and counts the changes that their tests notice.

    python -m tools.mutants --module stats/population

A mutant is a module with one comparison, operator or number changed, or a `not` more or less. A mutant that no test
fails with is a survivor: a test is missing, the code is not needed, or the mutant does what the module does. Survivors
of the last kind are in `mutants.toml`, each with the reason.

cosmic-ray makes the mutants, in a copy of the checkout. Their tests run in forks of this process, which has loaded
what takes long to load: a mutant takes a second instead of twenty. So this runs where processes fork: on Linux and
macOS.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from difflib import unified_diff
from functools import cache
from pathlib import Path
from typing import Any

from tools.problem import Problem, main_exit

ROOT = Path(__file__).resolve().parents[1]
EXPLAINED = Path(__file__).with_suffix(".toml")
RESULTS = ROOT / "benchmarks" / "results" / "mutants.json"
ENOUGH = 0.9
"""The share of a module's unexplained mutants that its tests must notice."""

_CLIENT, _TESTS = "client/grainserve", "tests/unit/client"
_GRAINS, _GRAIN_TESTS = "handler/grain_handler/grains", "tests/unit/handler/grains"
_MEASURING = ("test_measure", "test_measure_shapes", "test_measure_definitions")
_STORE = [f"{_TESTS}/jobs/test_{name}.py" for name in ("job", "store", "records", "idempotency", "resubmission")]
_ASTM = [f"{_TESTS}/stats/test_astm.py", f"{_TESTS}/stats/test_astm_paths.py"]
MODULES: dict[str, list[str]] = {
    f"{_CLIENT}/tiles/merge.py": [f"{_TESTS}/tiles/test_merge_by_hand.py", f"{_TESTS}/tiles/test_merge.py"],
    f"{_CLIENT}/stats/population.py": [f"{_TESTS}/stats/test_population.py"],
    f"{_CLIENT}/stats/summary.py": [f"{_TESTS}/stats/test_summary.py", f"{_TESTS}/stats/test_sample.py"],
    f"{_CLIENT}/stats/sample.py": [f"{_TESTS}/stats/test_sample.py"],
    f"{_CLIENT}/stats/bootstrap.py": [f"{_TESTS}/stats/test_bootstrap.py", f"{_TESTS}/stats/test_summary.py"],
    f"{_CLIENT}/stats/orientation.py": [f"{_TESTS}/stats/test_orientation.py"],
    f"{_CLIENT}/stats/interval.py": [f"{_TESTS}/stats/test_population.py", f"{_TESTS}/stats/test_sample.py"],
    f"{_CLIENT}/stats/classes.py": [f"{_TESTS}/stats/test_classes.py", f"{_TESTS}/stats/test_population.py"],
    f"{_CLIENT}/stats/astm/__init__.py": _ASTM,
    f"{_CLIENT}/stats/astm/counts.py": _ASTM,
    f"{_CLIENT}/stats/astm/number.py": _ASTM,
    f"{_CLIENT}/stats/astm/paths.py": _ASTM,
    f"{_CLIENT}/jobs/job.py": [f"{_TESTS}/jobs/test_job.py"],
    f"{_CLIENT}/jobs/store.py": _STORE,
    f"{_CLIENT}/jobs/records.py": [f"{_TESTS}/jobs/test_records.py"],
    f"{_CLIENT}/jobs/markers.py": [f"{_TESTS}/jobs/test_markers.py"],
    f"{_CLIENT}/dispatch/leases.py": [f"{_TESTS}/dispatch/test_leases.py"],
    f"{_CLIENT}/storage/clock.py": [f"{_TESTS}/storage/test_clock.py"],
    f"{_CLIENT}/gateway/keys.py": ["tests/unit/gateway/test_keys.py"],
    f"{_GRAINS}/label_map.py": [f"{_GRAIN_TESTS}/test_label_map.py"],
    f"{_GRAINS}/measure.py": [f"{_GRAIN_TESTS}/{each}.py" for each in _MEASURING],
    f"{_GRAINS}/hull.py": [f"{_GRAIN_TESTS}/{each}.py" for each in _MEASURING],
    f"{_GRAINS}/intensities.py": [f"{_GRAIN_TESTS}/{each}.py" for each in _MEASURING],
    f"{_GRAINS}/texture.py": [f"{_GRAIN_TESTS}/test_texture.py"],
}
"""Each module with the tests that must notice a change of it."""

# What stands in the place of what. Others of cosmic-ray's would fail any test, `2 << 0.5` as little as none: a change
# that could be a slip says more.
_BINARY = (
    "Add_Sub",
    "Sub_Add",
    "Mul_Div",
    "Div_Mul",
    "FloorDiv_Div",
    "Mod_Mul",
    "Pow_Mul",
    "BitAnd_BitOr",
    "BitOr_BitAnd",
)
_COMPARISON = (
    *("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
    *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"),
)
OPERATORS = (
    *(f"ReplaceBinaryOperator_{each}" for each in _BINARY),
    *(f"ReplaceComparisonOperator_{each}" for each in _COMPARISON),
    *(f"ReplaceUnaryOperator_Delete_{each}" for each in ("USub", "Invert", "Not")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer"),
)

# Loaded once, for all mutants. Nothing of ours, which each of them imports anew.
_SLOW = (
    *("numpy", "scipy.stats", "scipy.ndimage", "scipy.optimize", "skimage.measure", "PIL.Image", "requests"),
    *("google.cloud.storage", "segment_anything.modeling", "torch.export", "fastapi", "uvicorn"),
    *("rich.progress", "yaml", "jsonschema", "prometheus_client", "hypothesis.strategies", "hypothesis.core", "pytest"),
)
_MEMORY = 32 * 2**30
"""Bytes of addresses, so that a mutant that never ends does not take the machine with it."""


@dataclass(frozen=True)
class Mutant:
    """A module with one thing changed.

    Attributes:
        module: its path in the checkout.
        operator: what was changed, in cosmic-ray's words.
        line: where.
        change: the line before and after: `a < b → a <= b`.
        outcome: `killed` by a failing test, `timeout` or `survived`.
    """

    module: str
    operator: str
    line: int
    change: str
    outcome: str = ""


def mutants(module: str, source: str) -> Iterator[tuple[Mutant, str]]:
    """Yields the mutants of a module, each with its source; annotations are left alone."""
    from cosmic_ray.ast import ast_nodes, get_ast  # noqa: PLC0415 - here, as the fork server of pytest has no use for it
    from cosmic_ray.mutating import mutate_code  # noqa: PLC0415
    from cosmic_ray.plugins import get_operator  # noqa: PLC0415

    seen = {_meaning(source)}
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        nodes = [node for node in ast_nodes(get_ast(source)) for _ in operator.mutation_positions(node)]
        for occurrence, node in enumerate(nodes):
            if node.parent is not None and node.parent.type == "parameters":  # the * before named arguments
                continue
            changed = mutate_code(source, operator, occurrence)
            meaning = _meaning(changed)
            if meaning is not None and meaning not in seen:
                seen.add(meaning)
                yield Mutant(module, name, *_change(source, changed)), changed


def _meaning(source: str) -> str | None:
    """What a module does, as text: equal for two that differ in annotations only. None where it is no Python."""
    try:
        return ast.dump(_Bare().visit(ast.parse(source)))
    except SyntaxError:
        return None


class _Bare(ast.NodeTransformer):
    """Takes off what no test could notice: annotations, and flags that only hold slips in the code itself back."""

    def visit_keyword(self, node: ast.keyword) -> ast.keyword | None:
        self.generic_visit(node)
        return None if node.arg in ("frozen", "strict") else node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node


def _change(before: str, after: str) -> tuple[int, str]:
    """The number of the line that differs, and how."""
    lines = list(unified_diff(before.split("\n"), after.split("\n"), n=0, lineterm=""))[2:]
    old, new = (_code(next(line for line in lines[1:] if line[0] == sign)[1:]) for sign in "-+")
    return int(lines[0].split()[1].lstrip("-").split(",")[0]), f"{old} → {new}"


def _code(line: str) -> str:
    """A line without its comment, with single spaces: what is left when comments are reworded."""
    return " ".join(line.split("  # ", maxsplit=1)[0].split())


# Running --------------------------------------------------------------------------------------------------------------


def _copy(folder: Path) -> Path:
    """A copy of the checkout: what git tracks or would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def _pytest(checkout: Path, tests: list[str], *, cached: bool) -> None:
    """In a fork: runs tests in a copy of the checkout, and ends with pytest's exit code."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.chdir(checkout)
    with (checkout / "pytest.log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for name in [name for name in sys.modules if name.split(".")[0] == "tools"]:
        del sys.modules[name]
    sys.path[:0] = [str(checkout / "client"), str(checkout / "handler"), str(checkout)]
    # Of a module that changes twice in a second, bytecode would be taken for that of the other mutant.
    sys.dont_write_bytecode = cached
    import pytest  # noqa: PLC0415 - what the parent has loaded

    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    os._exit(int(pytest.main([*options, *tests])))


def _run(checkout: Path, tests: list[str], limit: float | None = None) -> str:
    """Runs tests; returns `survived` where all pass, `killed` or `timeout`."""
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_pytest, args=(checkout, tests), kwargs={"cached": limit is not None})
    process.start()
    process.join(limit)
    late = process.is_alive()
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # and what it started
    process.join()
    return "timeout" if late else "survived" if process.exitcode == 0 else "killed"


def examine(checkout: Path, module: str, sample: int, seed: int) -> Iterator[Mutant]:
    """Yields the mutants of a module, in order of lines, with what became of them.

    Args:
        checkout: a copy that may be changed.
        module: its path in the checkout.
        sample: how many to draw; 0 takes all.
        seed: of the draw.

    Raises:
        Problem: its tests fail with the module as it is, or a mutant is explained that it has not.
    """
    tests = MODULES[module]
    begun = time.monotonic()
    if _run(checkout, tests) != "survived":
        raise Problem(f"the tests of {module} fail: {(checkout / 'pytest.log').read_text()[-2000:]}")
    limit = 15 + 4 * (time.monotonic() - begun)
    file = checkout / module
    source, times = file.read_text(encoding="utf-8"), file.stat()
    drawn = list(mutants(module, source))
    if stale := {change for of, change in explanations() if of == module} - {mutant.change for mutant, _ in drawn}:
        raise Problem(f"{EXPLAINED.name} explains what is no mutant of {module}: {'; '.join(sorted(stale))}")
    if 0 < sample < len(drawn):
        drawn = random.Random(f"{seed}/{module}").sample(drawn, sample)
    for mutant, changed in sorted(drawn, key=lambda each: each[0].line):
        file.write_text(changed, encoding="utf-8")
        try:
            yield replace(mutant, outcome=_run(checkout, tests, limit))
        finally:
            file.write_text(source, encoding="utf-8")
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


# Telling --------------------------------------------------------------------------------------------------------------


@cache
def explanations() -> dict[tuple[str, str], str]:
    """Why a mutant does what the module does, by module and change.

    Raises:
        Problem: the file names a module that is none.
    """
    found: dict[tuple[str, str], str] = {}
    for each in tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))["explained"]:
        if each["module"] not in MODULES:
            raise Problem(f"{EXPLAINED.name} names {each['module']}, which is none of tools/mutants.py")
        found |= {(each["module"], change): each["why"] for change in each["changes"]}
    return found


def summary(tried: list[Mutant]) -> dict[str, dict[str, Any]]:
    """Counts by module: mutants tried, noticed, explained; and noticed / (tried − explained)."""
    found = {}
    for module in dict.fromkeys(each.module for each in tried):
        outcomes = Counter(_verdict(each) for each in tried if each.module == module)
        noticed, unexplained = outcomes["killed"] + outcomes["timeout"], outcomes["survived"]
        found[module] = {
            "mutants": outcomes.total(),
            "noticed": noticed,
            "explained": outcomes["explained"],
            "share": round(noticed / max(1, noticed + unexplained), 3),
        }
    return found


def _verdict(mutant: Mutant) -> str:
    explained = mutant.outcome == "survived" and (mutant.module, mutant.change) in explanations()
    return "explained" if explained else mutant.outcome


def _show(tried: list[Mutant]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("module", "mutants", "noticed", "explained", "share")
    for module, row in summary(tried).items():
        counts = (str(row[each]) for each in ("mutants", "noticed", "explained"))
        table.add_row(
            module.removeprefix(f"{_CLIENT}/").removeprefix("handler/grain_handler/"), *counts, f"{row['share']:.0%}"
        )
    Console().print(table)


def _write(path: Path, tried: list[Mutant], seed: int) -> None:
    """Writes the list; of modules that were not tried this time, what was written last time stays."""
    modules = {each.module for each in tried}
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    kept = [Mutant(**row) for row in before if row["module"] not in modules and row["module"] in MODULES]
    rows = sorted([*kept, *tried], key=lambda each: (list(MODULES).index(each.module), each.line))
    head = json.dumps({"seed": seed, "summary": summary(rows)}, ensure_ascii=False, indent=1)[:-2]
    lines = ",\n  ".join(json.dumps(asdict(row), ensure_ascii=False) for row in rows)
    path.write_text(f'{head},\n "rows": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def _module(text: str) -> str:
    """The one module that a person means.

    Raises:
        argparse.ArgumentTypeError: there is none, or several.
    """
    meant = [module for module in MODULES if module.removesuffix(".py").endswith(text.removesuffix(".py"))]
    if len(meant) != 1:
        raise argparse.ArgumentTypeError(
            f"{text} is {' and '.join(meant) or 'none of the modules'}: {', '.join(MODULES)}"
        )
    return meant[0]


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutants",
        description="Change one thing at a time in the modules that answers rest on, and count the changes that their "
        "unit tests notice. Works on a copy; the checkout stays as it is.",
        epilog="A survivor is a change that no test notices. Add a test that fails with it; or delete the code that "
        "nothing needs; or, where nothing could notice it, say why in tools/mutants.toml. Ends with 1 where tests "
        f"notice less than {ENOUGH:.0%} of a module's changes that are not explained.",
    )
    parser.add_argument("--module", action="append", type=_module, help="one module, as `tiles/merge`; again for more")
    parser.add_argument(
        "--sample", type=int, default=40, help="mutants to draw of each module; 0 for all (default: 40)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the list, JSON (default: %(default)s)")
    options = parser.parse_args()
    for name in _SLOW:
        importlib.import_module(name)
    gc.freeze()  # pytest collects garbage at its end: not among all of these
    tried: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="grainserve-mutants-") as folder:
        checkout = _copy(Path(folder) / "checkout")
        for module in options.module or MODULES:
            for mutant in examine(checkout, module, options.sample, options.seed):
                tried.append(mutant)
                if _verdict(mutant) == "survived":
                    print(f"{module}:{mutant.line}: {mutant.change}", flush=True)
            _write(options.out, tried, options.seed)
    _show(tried)
    return int(any(row["share"] < ENOUGH for row in summary(tried).values()))


if __name__ == "__main__":
    main_exit(main)
