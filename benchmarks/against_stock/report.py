"""The results as tables: on the terminal and as a page of docs/."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.against_stock.stages import STAGES

Case = Mapping[str, Any]

WHAT = ("image", "points", "model", "precision")
COST = (
    *("stock, s", "ours, s", "ratio", "as served, s", "images/s"),
    *("peak MiB, stock", "ours", "loaded MiB, stock", "ours"),
)
FIDELITY = ("masks, stock", "ours", "lost + new", "IoU, least", "mean", "Δ predicted IoU", "Δ stability", "Δ D50")

TITLE = "# Automatic masks, measured\n"


def terminal(cases: Sequence[Case]) -> list[Table]:
    """Prints all cases: time and memory, and the agreement of the masks."""
    tables = []
    for title, columns, row in (("Time and memory", COST, _cost), ("Fidelity", FIDELITY, _fidelity)):
        table = Table(title=title, title_justify="left")
        for column in WHAT:
            table.add_column(column)
        for column in columns:
            table.add_column(column, justify="right")
        for case in cases:
            table.add_row(*_what(case), *row(case))
        tables.append(table)
    return tables


def write_page(page: Path, section: str, text: str) -> None:
    """Replaces a section of the page; the rest of the page stays.

    Args:
        page: Markdown file.
        section: name in the section's marks.
        text: new text of the section.
    """
    begin, end = f"<!-- {section}: written by benchmarks/automask.py -->", f"<!-- {section}: end -->"
    block = f"{begin}\n{text.strip()}\n{end}\n"
    old = page.read_text() if page.exists() else TITLE
    if begin in old and end in old:
        head, _, rest = old.partition(begin)
        tail = rest.partition(f"{end}\n")[2]
        page.write_text(head + block + tail)
    else:
        page.write_text(f"{old.rstrip()}\n\n{block}")


def section(results: Mapping[str, Any], picture: str, raw: str) -> str:
    """Returns the results as Markdown.

    Args:
        results: the whole file of raw results.
        picture: path of the picture, from the page.
        raw: path of the raw results, from the page.
    """
    cases: Sequence[Case] = results["cases"]
    exact = [case for case in cases if not case["adaptive"]]
    machine, versions = results["machine"], results["versions"]
    parts = [
        f"## On {machine['device_name']}\n",
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
        + f"; torch {versions['torch']}, {results['date']}. [Raw results]({raw}), to be had again with"
        + f" `{results['command']}`.\n",
        f"![Time over points, image size and grains; time by stage]({picture})\n",
    ]
    for heading, columns, row in (("Time and memory", COST, _cost), ("Fidelity", FIDELITY, _fidelity)):
        rows = [[*_what(case), *row(case)] for case in exact]
        parts += [f"### {heading}\n", _markdown((*WHAT, *columns), rows)]
    parts += _choice(exact) + _stages(exact) + _adaptive(cases) + _rivals(cases) + _notes(results)
    return "\n".join(parts)


def _choice(cases: Sequence[Case]) -> list[str]:
    """Returns the means over all of a model's images by which its default precision is chosen."""
    rows = []
    for model, precision in dict.fromkeys((case["model"], case["precision"]) for case in cases):
        mine = [case for case in cases if (case["model"], case["precision"]) == (model, precision)]
        ious = [case["mean_matched_iou"] for case in mine if case["mean_matched_iou"] is not None]
        changes = [case["d50_change"] for case in mine if case["d50_change"] is not None]
        off = sum(case["count_mismatch"] > 0 for case in mine)
        rows.append(
            [
                model,
                precision,
                f"{off} of {len(mine)}",
                _number(statistics.fmean(ious), 4) if ious else "–",
                _percent(statistics.fmean(changes)) if changes else "–",
                _percent(max(changes, key=abs)) if changes else "–",
                f"{statistics.geometric_mean(case['ratio'] for case in mine):.1f}×",
            ]
        )
    columns = ("model", "precision", "cases with another count", "mean IoU", "mean Δ D50", "largest", "over stock")
    return [
        "### Which precision\n",
        "A model's default is the fastest whose mean IoU is 0.99 or more and whose D50 moves less than 0.5 %: means"
        " over all cases above.\n",
        _markdown(columns, rows),
    ]


def _stages(cases: Sequence[Case]) -> list[str]:
    rows: list[list[str]] = []
    for case in cases:
        if "headline" not in case["groups"]:
            continue
        if not rows or rows[-1][0] != case["model"]:
            rows.append([case["model"], "stock", *_seconds(case["stages_stock"])])
        rows.append([case["model"], case["precision"], *_seconds(case["stages_ours"])])
    if not rows:
        return []
    return ["### Seconds by stage\n", _markdown(("model", "", *STAGES), rows)]


def _adaptive(cases: Sequence[Case]) -> list[str]:
    rows = [
        [
            case["scenario"],
            _number(case["versus_exact"]["exact_seconds"]),
            _number(case["ours_seconds"]),
            f"{case['versus_exact']['ratio']:.2f}×",
            f"{case['ratio']:.1f}×",
            f"{case['versus_exact']['masks_exact']} → {case['masks_ours']}",
            _unmatched(case["versus_exact"]),
            _number(case["versus_exact"]["mean_matched_iou"], 4),
            f"{case['grains_stock']} → {case['grains_ours']}",
            _percent(case["d50_change"]),
        ]
        for case in cases
        if case["adaptive"]
    ]
    if not rows:
        return []
    columns = (
        *("scenario", "ours, all points, s", "adaptive, s", "gain", "over stock", "masks", "lost + new"),
        *("mean IoU", "grains of the label map", "Δ D50"),
    )
    return [
        "### Adaptive points (ours only)\n",
        "Coarse points first, finer ones only where no confident mask lies: fewer questions, other masks.\n",
        _markdown(columns, rows),
    ]


def _rivals(cases: Sequence[Case]) -> list[str]:
    parts = []
    for case in cases:
        if "rivals" not in case:
            continue
        mine = [other for other in cases if other["scenario"] == case["scenario"] and not other["adaptive"]]
        rows = [["stock", _number(case["stock_seconds"]), "1", str(case["masks_stock"]), "", "", ""]]
        rows[0][-1] = _number(case["peak_mib_stock"], 0)
        for one in mine:
            name = f"grainserve {one['precision']}"
            rows.append(_rival_row(name, {**one, "seconds": one["ours_seconds"], "masks": one["masks_ours"]}))
            rows[-1][-1] = _number(one["peak_mib_ours"], 0)
        rows += [_rival_row(name, rival) for name, rival in case["rivals"].items() if "skipped" not in rival]
        columns = ("", "s", "ratio", "masks", "lost + new", "mean IoU", "peak MiB")
        parts += [f"### Others: {case['scenario']}\n", _markdown(columns, rows)]
        parts += [f"{name}: {rival['skipped']}.\n" for name, rival in case["rivals"].items() if "skipped" in rival]
    return parts


def _rival_row(name: str, figures: Mapping[str, Any]) -> list[str]:
    return [
        name,
        _number(figures["seconds"]),
        f"{figures['ratio']:.2f}×",
        str(figures["masks"]),
        _unmatched(figures),
        _number(figures["mean_matched_iou"], 4),
        _number(figures.get("peak_mib"), 0),
    ]


def _notes(results: Mapping[str, Any]) -> list[str]:
    models = [
        f"- {name}: {model['weights']}; predicted IoU over {model['pred_iou_thresh']}, "
        + f"stability from {model['stability_score_thresh']}."
        for name, model in results["models"].items()
    ]
    repeats = sorted({(case["repeats"]["stock"], case["repeats"]["ours"]) for case in results["cases"]})
    often = ", ".join(f"{stock} of stock and {ours} of ours" for stock, ours in repeats)
    return [
        "### How\n",
        *models,
        "- Weights, image, points, thresholds and number of threads are the same for all. Systems take turns in one "
        "process with the C library's usual allocator and "
        f"GOMP_SPINCOUNT={results['gomp_spincount']}; times are medians of runs ({often}: what takes over "
        f"{results['slow_s']:g} s runs once). As served: one run of ours in a process of its own that keeps freed "
        "memory, as a worker does.",
        "- Stock answers with run lengths, its cheapest form.",
        '- Masks are paired one to one by IoU, 0.5 at least; "lost + new" are stock\'s and ours without a partner; Δ '
        "are largest differences of pairs. Δ D50 is that of the median equivalent diameter (by number) of the label "
        "map's grains.",
        '- Peak memory is above what a process that does nothing else holds after a first small answer ("loaded": '
        "model and libraries). On the CPU stock's is that of 12 × 12 points: batches follow each other in the same "
        "memory.",
        "- With random weights times and memory are the real ones; agreement says how errors grow in layers of that "
        "size, not what a trained SAM would lose.\n",
    ]


def _what(case: Case) -> list[str]:
    return [
        f"{case['width']} × {case['height']} px, {case['grains']} grains",
        f"{case['points_per_side']}²",
        case["model"],
        case["precision"] + (", adaptive" if case["adaptive"] else ""),
    ]


def _cost(case: Case) -> list[str]:
    return [
        _number(case["stock_seconds"]),
        _number(case["ours_seconds"]),
        f"{case['ratio']:.1f}×",
        _number(case["ours_seconds_as_served"]),
        _number(case["images_per_second"]["ours"]),
        *(_number(case[f"{what}_mib_{who}"], 0) for what in ("peak", "loaded") for who in ("stock", "ours")),
    ]


def _fidelity(case: Case) -> list[str]:
    return [
        str(case["masks_stock"]),
        str(case["masks_ours"]),
        _unmatched(case),
        _number(case["min_matched_iou"], 4),
        _number(case["mean_matched_iou"], 4),
        _small(case["max_abs_predicted_iou_diff"]),
        _small(case["max_abs_stability_diff"]),
        _percent(case["d50_change"]),
    ]


def _unmatched(figures: Mapping[str, Any]) -> str:
    """Returns the number of stock's masks that ours lacks + of our masks that stock lacks."""
    return f"{figures['unmatched']['stock']} + {figures['unmatched']['ours']}"


def _seconds(stages: Mapping[str, float]) -> list[str]:
    return [_number(stages.get(stage, 0.0)) for stage in STAGES]


def _number(value: float | None, digits: int | None = None) -> str:
    """Formats a number with three significant digits, or with a number of decimals."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if digits is not None else f"{value:.3g}"


def _small(value: float | None) -> str:
    return "–" if value is None else f"{value:.1g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.2f} %"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
