"""What every page has in common: addresses, colours, the way from one to another."""

import pytest

from support.browser import PHONE, OpenPage, axe_violations


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nonsense",
        # test_operating.py and test_signing_in.py have these in both colours
        *(pytest.param(each, marks=pytest.mark.long) for each in ("/queue", "/keys", "/settings")),
    ],
)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_wrong(open_page: OpenPage, path: str, dark: bool) -> None:
    if path == "/nonsense":
        page = open_page("/", dark=dark)
        page.evaluate("history.pushState(null, '', '/nonsense')")
        page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    else:
        page = open_page(path, dark=dark)
    page.wait_for_selector("main :is(h1, h2)")

    assert axe_violations(page) == []


def test_links_change_the_page_without_loading_it_again(open_page: OpenPage) -> None:
    page = open_page("/")
    page.evaluate("window.mark = 1")
    page.get_by_role("link", name="Queue").click()
    page.get_by_role("heading", level=1).wait_for()

    assert page.url.endswith("/queue")
    assert page.title() == "Queue and workers – batchmill"
    assert page.evaluate("window.mark") == 1
    assert page.evaluate("document.activeElement.id") == "main"
    page.go_back()
    page.get_by_role("heading", name="Drop pictures, documents").wait_for()


def test_what_breaks_one_page_leaves_the_others(open_page: OpenPage) -> None:
    page = open_page("/keys")
    page.route("**/v1/queue", lambda route: route.fulfill(json={}))
    page.get_by_role("link", name="Batches").click()
    page.get_by_role("heading", name="This page is broken").wait_for()
    assert axe_violations(page) == []
    page.get_by_role("link", name="Keys").click()

    page.get_by_role("heading", name="API keys").wait_for()


def test_the_skip_link_leads_past_the_head(open_page: OpenPage) -> None:
    page = open_page("/queue")
    page.get_by_role("link", name="Skip to the content").press("Enter")

    assert page.evaluate("document.activeElement.id") == "main"
    assert page.evaluate("location.pathname + location.hash") == "/queue#main"


def test_the_chosen_colours_outlast_a_reload(open_page: OpenPage) -> None:
    page = open_page("/")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Colours: as the system").click()
    page.get_by_role("button", name="Colours: light").click()
    page.reload()
    page.get_by_role("button", name="Colours: dark").wait_for()

    assert page.evaluate(ground) != light


def test_nothing_is_wider_than_a_phone(open_page: OpenPage) -> None:
    page = open_page("/", **PHONE)
    page.wait_for_selector("main h2")

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
