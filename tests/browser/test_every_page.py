"""Every page of ours: no script of others runs, no strict policy is broken; for every eye."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from orderhooks.admin import jobs
from tests.browser.pages import PAGES, Shop, open_shop
from tests.browser.visiting import Visit
from tests.receivers import Answer, RecordingReceiver

HOSTILE = "<script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=2>{{7*7}}"


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
SILENT = {"delivery's history", "new erasure", "new subscription", "topics"}


# In the dark, colours alone are other than in the light.
ALL_RULES: dict[str, object] = {"resultTypes": ["violations"]}
RULES: dict[Literal["light", "dark"], dict[str, object]] = {
    "light": ALL_RULES,
    "dark": {**ALL_RULES, "runOnly": ["color-contrast", "link-in-text-block"]},
}
# Django's links pass from one colour to the other in a moment.
COLOURS_ARE_THERE = """() => new Promise(requestAnimationFrame)
  .then(() => Promise.allSettled(document.getAnimations().map(one => one.finished)))"""
# Django's own, drawn around ours.
OF_DJANGO = {"exclude": [[".breadcrumbs"], ["#searchbar"], ["th.original"]]}


def test_no_page_is_harder_to_use_than_djangos_own(
    visit: Callable[..., Visit], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A page that comes again while it is looked at ends the look.
    monkeypatch.setattr(jobs, "REFRESH_SECONDS", 3600)
    # axe itself is put into the page, which the policy would refuse.
    operator = visit(bypass_csp=True)
    user = operator.user.pk
    accepted = set()
    for address in ("", "auth/user/", f"auth/user/{user}/change/", f"auth/user/{user}/delete/"):
        operator.page.goto(f"/admin/{address}")
        accepted |= {(scheme, rule) for scheme, rule, _where in _violations(operator.page)}
    found = []
    for name, go in PAGES.items():
        go(operator, shop)
        broken = _violations(operator.page)
        found += [
            f"{name}, {scheme}: {rule}: {where}" for scheme, rule, where in broken if (scheme, rule) not in accepted
        ]
    assert not found, "\n".join(found)


def _violations(page: Page) -> Iterator[tuple[str, str, str]]:
    """In which colours a rule is broken, which, and where."""
    for scheme, rules in RULES.items():
        page.emulate_media(color_scheme=scheme)
        page.evaluate(COLOURS_ARE_THERE)
        for rule in Axe().run(page, context=OF_DJANGO, options=rules).response["violations"]:
            for node in rule["nodes"]:
                yield scheme, rule["id"], f"{node['target']} {node['html']}"
