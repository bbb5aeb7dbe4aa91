"""For mkdocstrings: the comments behind the fields of a class are its docstring's section "Attributes"."""

from typing import Any

import griffe


class Comments(griffe.Extension):
    """What ``phase: str  # "search" | "main" | "done"`` says, once."""

    def on_class_members(self, *, cls: griffe.Class, **others: Any) -> None:
        """Called by griffe for every class that it has read."""
        public = {name: field for name, field in cls.attributes.items() if not name.startswith("_")}
        comments = {name: field.source.partition("  # ")[2] for name, field in public.items()}
        if cls.docstring is not None and any(comments.values()):
            lines = "".join(f"\n    {name}: {comment}" for name, comment in comments.items())
            cls.docstring.value += f"\n\nAttributes:{lines}"
