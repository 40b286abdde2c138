"""A report as one HTML page that needs nothing but itself (docs/report.md)."""

from lutra.page.facts import Facts, Question, page_record
from lutra.page.gathering import gather
from lutra.page.render import check_output, render, write_page

__all__ = ["Facts", "Question", "check_output", "gather", "page_record", "render", "write_page"]
