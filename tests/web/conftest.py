"""Fixtures of every test in a browser."""

from support.browser import browser, chromium, open_page, server

__all__ = ["browser", "chromium", "open_page", "server"]
