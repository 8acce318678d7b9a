"""README and docs/: links lead to existing targets, commands exist, and the index has every page."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from grainserve.cli import app
from tests.documents import DOCS, FENCE, PAGES, README, Command, commands, name, prose
from tests.unit.client.made import make_image, make_result
from tools.mar import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
LINKING = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "weights" / "README.md"]
EVERY = [command for page in PAGES for command in commands(page)]
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

RUN = {
    "README.md": ("(grainserve|curl) ", "tests/e2e/test_documents.py"),
    "docs/http.md": (r"curl (?!-H Authorization)", "tests/e2e/test_documents.py"),
    "docs/prompts.md": ("curl ", "tests/contract/test_segment.py"),
    "docs/tutorial.md": ("", "tests/e2e/test_tutorial.py"),
    "docs/exports.md": ("", "tests/unit/client/exports/test_page.py"),
    "docs/reports.md": ("grainserve (report|compare) ", "tests/unit/test_documents.py"),
    "docs/statistics.md": ("", "tests/unit/test_documents.py"),
}
"""Page → the commands (by a pattern for their beginning) that a test runs unchanged, and this test."""

NOT_RUN = [
    ("README.md", "make demo", "takes a minute; tests/e2e/test_client.py and test_tutorial.py hold what it does"),
    ("README.md", "make serve", "serves until Ctrl-C; what it starts is what the tests' stack starts"),
    ("README.md", "export ", "the tests' stack sets these variables, with ports of its own"),
    ("CONTRIBUTING.md", "make ", "CI runs these: .ci/run"),
    ("docs/http.md", "grainserve (keygen|gateway) ", "serves on every address; tests/unit/gateway serves with keys"),
    ("docs/http.md", "curl -H Authorization", "needs that gateway; tests/unit/gateway asks with keys"),
    ("docs/prompts.md", "grainserve gateway ", "wants two models; tests/unit/gateway/test_variants.py has them"),
    ("docs/operations.md", "", "changes what is served; tests/contract/test_swap.py swaps and rolls back"),
    ("docs/fine_tuning.md", "", "trains for minutes to hours; tests/unit/training runs each script for a few steps"),
    ("docs/classes.md", "", "measures, and installs; tests/contract/test_classes.py takes all five steps"),
    ("docs/large_images.md", "grainserve analyze ", "takes minutes; tests/e2e/test_tiles.py measures a small one"),
    ("docs/large_images.md", "curl ", "takes minutes; tests/unit/gateway/test_large_uploads.py sends a small one"),
    ("docs/frame.md", "grainserve analyze ", "wants micrographs; tests/unit/client/scale/test_databar.py draws some"),
    ("docs/scale.md", "grainserve (scale|analyze) ", "wants a photograph; tests/unit/client/scale draws scale bars"),
    ("docs/prompts.md", "grainserve segment ", "wants an image; tests/contract/test_prompts.py points at another one"),
    ("docs/reports.md", "grainserve analyze ", "measures; the README's commands do the same"),
    ("docs/jobs.md", "grainserve jobs", "wants ids of jobs that wait; tests/unit/client/cli/test_jobs.py has some"),
    ("docs/jobs.md", "grainserve images", "wants ids of images; tests/unit/client/cli/test_images.py has some"),
    ("docs/scale.md", "grainserve images", "wants ids of images; tests/unit/client/cli/test_images.py has some"),
    ("docs/jobs.md", "grainserve submit", "wants a bucket of images; tests/unit/client/cli/test_references.py has one"),
    ("docs/capacity.md", "python -m benchmarks.automask ", "needs a GPU"),
    ("docs/image.md", "(docker|grainserve) ", "needs a container engine; `make image-test` does without one"),
    ("docs/inputs.md", "gdal_translate ", "needs GDAL, which is not installed"),
    (
        "docs/gce.md",
        "",
        "needs a cloud project; tests/unit/deploy/test_gce_vm.py has an imitation of gcloud",
    ),
    ("docs/kubernetes.md", "", "needs a cluster; tests/unit/deploy holds what kubectl would apply"),
]
"""Page, a pattern for the beginning of commands that no test runs unchanged, and the reason."""


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them and mkdocs.yml configures them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    slugs: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
        slugs[slug] += 1
    return found


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 1300


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(prose(index))}
    assert [name(page) for page in DOCS if page != index and page not in linked] == []


def test_the_page_of_options_has_every_option() -> None:
    schema = json.loads((ROOT / "client/grainserve/schemas/options.schema.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    table = page.partition("\n## Options\n")[2].partition("\n## ")[0]
    named = {option for row in table.splitlines() for option in re.findall(r"`(\w+)`", row.partition(" | ")[0])}
    assert named == {*schema["properties"], "imageId"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_and_modules_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = {each.words[1] for each in commands(page) if each.words[0] == "make"}
    assert targets | set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS
    modules = set(re.findall(r"python -m ((?:tools|training|benchmarks|tests)[\w.]*)", text))
    assert [module for module in modules if not (ROOT / f"{module.replace('.', '/')}.py").is_file()] == []


@pytest.mark.parametrize("command", [each for each in EVERY if each.words[0] == "grainserve"], ids=str)
def test_the_command_line_takes_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line parses groups, options and arguments as usual, but runs nothing."""
    assert TyperGroup.__base__ is not None
    monkeypatch.setattr(TyperGroup.__base__, "invoke", lambda *_: None)
    done = CliRunner().invoke(app, command.words[1:])
    assert done.exit_code == 0, done.output


def test_the_command_line_would_refuse_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    assert TyperGroup.__base__ is not None
    monkeypatch.setattr(TyperGroup.__base__, "invoke", lambda *_: None)
    for words in (["analyse", "image.jpg"], ["analyze", "image.jpg", "--scales", "auto"], ["models", "swap"]):
        assert CliRunner().invoke(app, words).exit_code == 2


@pytest.mark.parametrize(
    "module", sorted({each.words[2] for each in EVERY if each.words[:2] == ("python", "-m")}), ids=str
)
def test_a_module_takes_the_options_that_pages_give(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {word for each in EVERY if each.words[:3] == ("python", "-m", module) for word in each.words[3:]}
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main()
    assert ended.value.code == 0
    options = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert {word for word in given if word.startswith("--")} <= options


def test_every_command_is_run_or_listed_with_the_reason() -> None:
    def said(command: Command) -> list[str]:
        text = " ".join(command.words)
        ran = [test for page, (start, test) in RUN.items() if page == command.page and re.match(start, text)]
        return ran + [why for page, start, why in NOT_RUN if page == command.page and re.match(start, text)]

    assert [str(command) for command in EVERY if len(said(command)) != 1] == []


def test_no_list_names_what_is_no_more() -> None:
    for page, start in [*((page, start) for page, (start, _) in RUN.items()), *(each[:2] for each in NOT_RUN)]:
        assert [each for each in EVERY if each.page == page and re.match(start, " ".join(each.words))], (page, start)
    named = [test for _, test in RUN.values()]
    named += [test for *_, why in NOT_RUN for test in re.findall(r"tests/[\w/]+(?:\.py)?", why)]
    assert [test for test in named if not (ROOT / test).exists()] == []


def expanded(pattern: str) -> list[str]:
    """Returns the files of this folder that a shell would put in the pattern's place."""
    return sorted(str(file) for file in Path().glob(pattern))


@pytest.mark.parametrize("page", ["docs/reports.md", "docs/statistics.md"])
def test_commands_on_results_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAINSERVE_BUCKET", raising=False)
    (tmp_path / "scans").mkdir()
    for result in ("dune1", "dune2", "sand_1", "sand_2", "steel", "beach/1", "dune/1"):
        file = tmp_path / "results" / f"{result}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(make_result(result.replace("/", "-"), um_per_px=2.5)), encoding="utf-8")
        make_image().save(tmp_path / "scans" / f"{file.stem}.png")
    ran = [each for each in commands(ROOT / page) if re.match(RUN[page][0], " ".join(each.words))]
    for command in ran:
        words = [word for each in command.words[1:] for word in (expanded(each) if "*" in each else [each])]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (str(command), done.output)
        for option in ("--out", "--json"):
            assert option not in words or Path(words[words.index(option) + 1]).stat().st_size > 0
