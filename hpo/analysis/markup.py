"""HTML in which every text is escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is markup: safe to put into a page as it is."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element. Children that are not `Html` are escaped; attributes that are None are left out.

    Of an attribute's name a trailing underscore goes and the others become dashes: `class_`,
    `aria_label`.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """The children one after the other, escaped where they are not `Html`."""
    return Html(
        "".join(
            child if isinstance(child, Html) else escape(str(child), quote=False)
            for child in children
        )
    )


def paragraphs(sentences: Iterable[object], *, class_: str | None = None) -> Html:
    """Each sentence a paragraph."""
    return join(tag("p", sentence, class_=class_) for sentence in sentences)


def table(
    caption: str,
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Iterable[int] = (),
    sortable: bool = False,
) -> Html:
    """A table with a caption, column headers, and each row's first cell as its header.

    It lies in a region that scrolls by itself and can be reached with the keyboard. A cell may be
    `Html`, a whole `<td>` where it starts so; `numeric` are the columns that are set flush right.
    """
    right = frozenset(numeric)

    def cell(index: int, content: object) -> Html:
        if isinstance(content, Html) and content.startswith("<td"):
            return content
        style = "number" if index in right else None
        if index == 0:
            return tag("th", content, scope="row", class_=style)
        return tag("td", content, class_=style)

    heads = (
        tag("th", name, scope="col", class_="number" if index in right else None)
        for index, name in enumerate(header)
    )
    body = (
        tag("tr", *(cell(index, content) for index, content in enumerate(row))) for row in rows
    )
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *body),
        class_="sortable" if sortable else None,
    )
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def term_list(pairs: Iterable[tuple[object, object]]) -> Html:
    """Names and their values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))
