"""What every report page must be, whatever it is of: read by a parser, without a browser."""

from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "link", "br", "img", "input", "hr"}
DRAWN = {"path", "rect", "circle", "line"}  # of SVG: closed by "/>" or holding a title


class Page(HTMLParser):
    """Elements with their attributes, in order; `text` is all that is read; problems with the nesting raise AssertionError."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.parents: list[tuple[str, ...]] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"left open: {self._open}"
        self.text = " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), (tag, attributes)
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        self.parents.append(tuple(self._open))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self._text.append(data)

    def all(self, *tags: str) -> list[dict[str, str]]:
        """Attributes of every element of these kinds, in order."""
        return [attributes for tag, attributes in self.elements if tag in tags]

    def inside(self, outer: str, inner: str) -> int:
        """How many `inner` there are in an `outer`."""
        return sum(tag == inner and outer in parents for (tag, _), parents in zip(self.elements, self.parents, strict=True))


def check_page(html: str) -> Page:
    """Assert that the page needs nothing from elsewhere and can be read without eyes; returns it parsed."""
    page = Page(html)
    assert html.startswith("<!doctype html>")
    _check_self_contained(html, page)
    _check_structure(page)
    return page


def _check_self_contained(html: str, page: Page) -> None:
    assert not page.all("script", "iframe", "object", "embed", "form", "base")
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def _check_structure(page: Page) -> None:
    for landmark in ("header", "nav", "main", "footer", "h1", "title", "style"):
        assert sum(tag == landmark and "svg" not in parents for (tag, _), parents in zip(page.elements, page.parents, strict=True)) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(ids)
        assert attributes.get("href", "#").startswith("data:") or attributes.get("href", "#")[1:] in {"", *ids}
    assert page.inside("table", "caption") == len(page.all("table"))
    assert all("scope" in heading for heading in page.all("th"))
    assert all(picture["alt"] for picture in page.all("img"))
    for (tag, attributes), parents in zip(page.elements, page.parents, strict=True):
        if tag == "svg" and "svg" not in parents:
            described = attributes.get("role") == "img" and len(attributes["aria-labelledby"].split()) == 2
            assert described or attributes.get("aria-hidden") == "true", attributes
        if attributes.get("tabindex") == "0":
            assert (attributes["role"], bool(attributes["aria-label"])) == ("region", True)
