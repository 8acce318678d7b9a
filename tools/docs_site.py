"""Lets pages of the documents' site link to files elsewhere in the repository: a hook of MkDocs, named in mkdocs.yml.

Each file that a page links to is copied into the site, under `repository/`. A Markdown file becomes a page of its own,
and what that links to comes along. A link to a folder becomes the folder's name, since a site has no listing of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS, COPIES = PurePosixPath("docs"), PurePosixPath("repository")
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
"""Text, target and anchor of a link that leads to another file."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds every file outside docs/ that a page links to, and those that the added pages link to."""
    pages = [file.src_uri for file in files.documentation_pages()]
    while pages:
        page = pages.pop()
        text = (ROOT / in_repository(page)).read_text(encoding="utf-8")
        for _, target, _ in LINK.findall(text):
            path = linked(page, target)
            if path is None or not (ROOT / path).is_file() or files.get_file_from_path(in_site(path)):
                continue
            files.append(File.generated(config, in_site(path), abs_src_path=str(ROOT / path)))
            if path.suffix == ".md":
                pages.append(in_site(path))
    return files


def on_page_markdown(markdown: str, /, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points the page's links to where the site has their files."""
    return rewritten(markdown, page.file.src_uri)


def rewritten(markdown: str, page: str) -> str:
    """Returns the page's text with its links as the site has them.

    Args:
        markdown: The text, its links as the repository has them.
        page: Its path in the site's source, such as "repository/weights/README.md".
    """

    def change(link: re.Match[str]) -> str:
        text, target, anchor = link.groups(default="")
        path = linked(page, target)
        if path is None:
            return link[0]
        if (ROOT / path).is_dir():
            return f"`{path}/`"
        return f"[{text}]({os.path.relpath(in_site(path), PurePosixPath(page).parent)}{anchor})"

    return LINK.sub(change, markdown)


def linked(page: str, target: str) -> PurePosixPath | None:
    """Returns the path in the repository that a link of a page leads to; None where there is nothing of the kind."""
    path = PurePosixPath(os.path.normpath(in_repository(page).parent / target))
    return path if ":" not in target and (ROOT / path).exists() else None


def in_repository(page: str) -> PurePosixPath:
    """Returns where the repository has what the site's source has here."""
    path = PurePosixPath(page)
    return path.relative_to(COPIES) if path.is_relative_to(COPIES) else DOCS / path


def in_site(path: PurePosixPath) -> str:
    """Returns where the site's source has what the repository has here."""
    return str(path.relative_to(DOCS) if path.is_relative_to(DOCS) else COPIES / path)
