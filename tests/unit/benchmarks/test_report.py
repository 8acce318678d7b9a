from __future__ import annotations

from pathlib import Path

from benchmarks.against_stock.report import write_page


def test_a_section_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    write_page(page, "automask", "on a CPU, first")
    page.write_text("by hand, before\n\n" + page.read_text() + "\nby hand, after\n")
    write_page(page, "automask_cuda", "on a GPU")
    write_page(page, "automask", "on a CPU, again")
    text = page.read_text()
    assert "first" not in text
    order = ["by hand, before", "on a CPU, again", "by hand, after", "on a GPU"]
    assert sorted(order, key=text.index) == order
    assert all(text.count(part) == 1 for part in order)
