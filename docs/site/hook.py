"""The site is the repository: each of its pages is a file of it, at the file's own path.

So a link is written once, leads to the same place here and in the repository, and ``mkdocs build --strict`` checks
it. Pages are those of ``nav`` in ``mkdocs.yml`` and whatever they link to. A Python file is shown as its docstring and
its code; ``experiments/NOTES.md`` as a page for each entry (``research_log``); and a fence

    ```docstring
    pfopt.core.main_run
    ```

as the docstring of that module, word by word.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

import research_log
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
FENCED_DOCSTRING = re.compile(r"```docstring\n([\w.]+)\n```")
HOW_TO_RUN = "\n```\npip install '.[torch,optax,examples]'  # once, or `make test`\npython -m {}\n```\n"
NOT_SEARCHED = "---\nsearch: {exclude: true}\n---\n"


def on_config(config: MkDocsConfig) -> None:
    """The entries of the log, as pages of its section; Python files, as the pages that show them."""
    for section in config.nav or []:
        for pages in section.values():
            if isinstance(pages, list):
                pages[:] = [_shown(page) for page in pages]
            if pages == [research_log.INDEX]:
                pages += research_log.nav(_notes())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages of ``nav``, those of the log, and what they link to, in place of a folder of documents."""
    site = Files([])
    entries = research_log.pages(_notes())
    waiting, seen = [*_paths(config.nav), *map(str, config.extra_css)], set[str]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        source = ROOT / path.removesuffix(".md") if path.endswith(".py.md") else ROOT / path
        if path in entries:
            text = entries[path]
        elif path.endswith(".py.md"):
            text = _code_page(path.removesuffix(".md"), source.read_text())
        elif source.is_file():
            text = source.read_text() if path.endswith(".md") else None
        else:
            continue  # mkdocs will say that the link leads nowhere
        if text is None:
            site.append(File.generated(config, path, abs_src_path=str(source)))
        else:
            site.append(File.generated(config, path, content=text))
            waiting += [normpath(join(dirname(path), link)) for link in LINK.findall(_to_pages(text))]
    for file in files:
        if file.abs_src_path is None or not Path(file.abs_src_path).is_relative_to(ROOT / "docs"):
            site.append(file)  # the theme's
    return site


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to Python files lead to the pages that show them, and docstrings are put in."""
    return FENCED_DOCSTRING.sub(lambda found: f"```text\n{_docstring(found[1])}\n```", _to_pages(markdown))


def _notes() -> str:
    return (ROOT / research_log.INDEX).read_text()


def _shown(page: Any) -> Any:
    if isinstance(page, dict):
        return {title: _shown(path) for title, path in page.items()}
    return f"{page}.md" if isinstance(page, str) and page.endswith(".py") else page


def _paths(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        parts: Iterable[Any] = nav.values() if isinstance(nav, dict) else nav
        for part in parts:
            yield from _paths(part)


def _to_pages(markdown: str) -> str:
    return LINK.sub(lambda found: f"{found[1]}.md" if found[1].endswith(".py") else found[1], markdown)


def _docstring(module: str) -> str:
    path = ROOT / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(source.read_text())) or ""


def _code_page(path: str, source: str) -> str:
    """The docstring as text, where it is no listing, and the code; of an example, how to run it."""
    told = ast.get_docstring(ast.parse(source)) or ""
    is_listing = "\n " in told
    code = source if is_listing else source.split('"""', 2)[-1].lstrip()
    text = "" if is_listing else f"\n{told}\n"
    if path.startswith("examples/"):
        text += HOW_TO_RUN.format(path.removesuffix(".py").replace("/", "."))
        text += "".join(
            f"\nIts data: [{name}.py]({name}.py)\n"
            for name in re.findall(r"^from examples import (\w+)", code, re.M)
        )
    return f"{NOT_SEARCHED}# `{path}`\n{text}\n```python\n{code}```\n"
