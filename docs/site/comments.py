"""For mkdocstrings: a field without a docstring is told by the comment behind it."""

from typing import Any

import griffe


class Comments(griffe.Extension):
    """Trailing comments are the docstrings of fields."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **others: Any) -> None:
        """Called by griffe for every field that it meets."""
        if attr.docstring is None:
            _, _, comment = attr.source.partition("  # ")
            if comment:
                attr.docstring = griffe.Docstring(comment, parent=attr)
