"""``experiments/NOTES.md`` as pages: its introduction with a list of entries, and a page for each of them."""

import re
from typing import NamedTuple

INDEX = "experiments/NOTES.md"
FOLDER = "experiments/notes"
ENTRIES = {"Kept": r"\d+\. ", "Not kept": r"- "}  # sections of which every item is a hypothesis
LONGEST_TITLE = 80
FOUND_LATER = "---\nsearch: {boost: 0.3}\n---\n"  # than what the documents say


class Entry(NamedTuple):
    """A page of the log."""

    section: str
    title: str
    path: str
    text: str


def pages(notes: str) -> dict[str, str]:
    """Markdown by path."""
    found = entries(notes)
    introduction, rest = re.split(r"^(?=## )", notes, maxsplit=1, flags=re.M)
    started = rest.split("\n## ", 1)[0]
    listed = ""
    for section in dict.fromkeys(entry.section for entry in found):
        of_it = [entry for entry in found if entry.section == section]
        links = [f"[{entry.title}]({entry.path.removeprefix('experiments/')})" for entry in of_it]
        listed += (
            f"\n## {section}\n\n" + "".join(f"- {link}\n" for link in links)
            if len(of_it) > 1
            else f"\n## {links[0]}\n"
        )
    index = f"{introduction}{_spaced(started)}\n{listed}"
    return {
        INDEX: index,
        **{entry.path: f"{FOUND_LATER}# {entry.title}\n\n{_spaced(entry.text)}" for entry in found},
    }


def nav(notes: str) -> list[dict[str, object]]:
    """The entries by section, as ``nav`` wants them."""
    sections: dict[str, list[dict[str, str]]] = {}
    for entry in entries(notes):
        sections.setdefault(entry.section, []).append({entry.title: entry.path})
    return [{name: items} if len(items) > 1 else dict(items[0]) for name, items in sections.items()]


def entries(notes: str) -> list[Entry]:
    """Every item of the sections in ``ENTRIES``, and every other section as a whole, but the first one."""
    _, _, *sections = re.split(r"^## ", notes, flags=re.M)
    found = []
    for section in sections:
        name, body = section.split("\n", 1)
        slug = name.lower().replace(" ", "-")
        if name not in ENTRIES:
            found.append(Entry(name, name, f"{FOLDER}/{slug}.md", body))
            continue
        _, *items = re.split(rf"^(?={ENTRIES[name]})", body, flags=re.M)
        for number, item in enumerate(items, 1):
            text = _dedented(re.sub(rf"^{ENTRIES[name]}", "", item))
            title = f"{number}. {_title(text)}" if name == "Kept" else _title(text)
            found.append(Entry(name, title, f"{FOLDER}/{slug}-{number}.md", text))
    return found


def _title(text: str) -> str:
    """What is bold in the beginning, or the first clause."""
    first = re.sub(r"\s+", " ", text.split("\n\n")[0])
    bold = re.match(r"\*\*(.+?)\.?\*\*(?!\*)", first)
    title = bold[1] if bold else re.split(r"[:;.] ", first, maxsplit=1)[0]
    title = title.replace("\\", "").strip()
    return title if len(title) <= LONGEST_TITLE else title[:LONGEST_TITLE].rsplit(" ", 1)[0] + " …"


def _dedented(item: str) -> str:
    """The lines after the first are indented by as much as the second."""
    first, *rest = item.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first, *(line[indent:] for line in rest)])


def _spaced(text: str) -> str:
    """A blank line before every table and list, which Python-Markdown wants and GitHub does not."""
    lines: list[str] = []
    for line in text.splitlines():
        kind = re.match(r"\||- ", line)
        last = lines[-1] if lines else ""
        if kind and last.strip() and not re.match(r"\||- | ", last):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
