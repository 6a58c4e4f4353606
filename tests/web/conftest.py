"""Fixtures of every test in a browser."""

from support.browser import browser, open_page, server

__all__ = ["browser", "open_page", "server"]
