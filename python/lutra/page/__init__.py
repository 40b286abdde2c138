"""A report as one HTML page that needs nothing but itself (docs/report.md)."""

from lutra.page.facts import Facts, Question, gather
from lutra.page.render import render, write_page

__all__ = ["Facts", "Question", "gather", "render", "write_page"]
