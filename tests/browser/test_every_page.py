"""Every page of ours: no script of others runs, nothing is refused by a strict policy, for every eye and every screen."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.pages import PAGES, Shop, open_shop
from tests.browser.visiting import Visit
from tests.receivers import Answer, RecordingReceiver

HOSTILE = "<script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=2>{{7*7}}"
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def shop(database: None, receiver: RecordingReceiver) -> Shop:
    return open_shop(url=receiver.url)


def test_what_customers_and_receivers_write_is_shown_and_never_run(
    visit: Callable[..., Visit], receiver: RecordingReceiver
) -> None:
    receiver.answer = lambda _count: Answer(500, HOSTILE.encode(), (("x-hello", HOSTILE),))
    # So that what gets in would run: the policy alone would stop it.
    operator = visit(bypass_csp=True)
    shop = open_shop(url=receiver.url, text=HOSTILE)
    for name, go in PAGES.items():
        go(operator, shop)
        assert operator.page.evaluate("window.pwned") is None, f"{name} runs what it shows"
        assert operator.page.locator("img[src=x]").count() == 0, f"{name} draws what it shows"
        assert (name in SILENT) == ("window.pwned=1" not in operator.page.inner_text("body")), name


# Pages with nothing in them that anybody wrote.
SILENT = {"new subscription", "topics"}


def test_no_page_is_wider_than_a_phone(visit: Callable[..., Visit], shop: Shop) -> None:
    operator = visit(viewport=PHONE, is_mobile=True, has_touch=True)
    wide = {}
    for name, go in PAGES.items():
        go(operator, shop)
        width = operator.page.evaluate("document.scrollingElement.scrollWidth")
        if width > PHONE["width"] + 1:
            wide[name] = width
    assert wide == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_harder_to_use_than_djangos_own(visit: Callable[..., Visit], shop: Shop, scheme: str) -> None:
    operator = visit(bypass_csp=True, color_scheme=scheme)
    user = operator.user.pk
    accepted = set()
    for address in ("", "auth/user/", f"auth/user/{user}/change/", f"auth/user/{user}/delete/"):
        operator.page.goto(f"/admin/{address}")
        accepted |= {rule for rule, _where in _violations(operator.page)}
    found = []
    for name, go in PAGES.items():
        go(operator, shop)
        found += [f"{name}: {rule}: {where}" for rule, where in _violations(operator.page) if rule not in accepted]
    assert not found, "\n".join(found)


# Django's own, drawn around ours.
OF_DJANGO = [".breadcrumbs", "#searchbar", "th.original"]


def _violations(page: Page) -> list[tuple[str, str]]:
    """Rules that are broken, and where."""
    rules = Axe().run(page, context={"exclude": [[one] for one in OF_DJANGO]}).response["violations"]
    return [(rule["id"], f"{node['target']} {node['html']}") for rule in rules for node in rule["nodes"]]
