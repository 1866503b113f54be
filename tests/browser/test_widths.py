"""What fits on a screen: the columns that matter most, and on a phone everything that is filled in or pressed."""

from collections.abc import Callable

import pytest

from tests.browser.pages import PAGES, Shop, open_shop
from tests.browser.visiting import Visit
from tests.receivers import RecordingReceiver

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
# The columns of each list that have to be seen without moving anything, beside the filters and Django's own sidebar.
COLUMNS = {
    "log": ["state_badge", "order_number", "topic", "subscription_name", "last_outcome"],
    "subscriptions": ["name", "health", "last_error", "waiting", "success_rate"],
    "orders": ["number", "deliveries", "status", "payment_status", "amount"],
    "events": ["topic", "order", "published", "error_text", "occurred_at"],
    "backfills": ["subscription", "state_badge", "orders", "failed", "topic"],
    "replays": ["subscription", "state_badge", "deliveries", "only", "since"],
}
# What reaches beyond the screen, or beyond a box that hides what does not fit, and cannot be scrolled to.
OUT_OF_SIGHT = """() => [...document.querySelectorAll("#content input, #content select, #content a, #content button")]
  .filter(one => {
    const right = one.getBoundingClientRect().right - 1
    if (!one.checkVisibility()) return false
    for (let box = one.parentElement; box; box = box.parentElement) {
      const overflow = getComputedStyle(box).overflowX
      if (["auto", "scroll"].includes(overflow)) return false
      if (overflow !== "visible" && right > box.getBoundingClientRect().right) return true
    }
    return right > document.documentElement.clientWidth
  }).map(one => one.outerHTML.slice(0, 120))"""


@pytest.fixture
def shop(database: None, receiver: RecordingReceiver) -> Shop:
    return open_shop(url=f"{receiver.url}/hooks/orders/incoming/from/the/store?store=kyoto&version=2026-11-28")


@pytest.mark.parametrize("name", COLUMNS)
def test_the_columns_that_matter_most_fit(visit: Callable[..., Visit], shop: Shop, name: str) -> None:
    operator = visit(viewport=DESK)
    PAGES[name](operator, shop)
    edge = operator.page.locator(".results").bounding_box()
    assert edge is not None
    for column in COLUMNS[name]:
        cell = operator.page.locator(f"#result_list .field-{column}").first.bounding_box()
        assert cell is not None
        assert cell["x"] + cell["width"] <= edge["x"] + edge["width"] + 1, column


def test_on_a_phone_no_page_is_too_wide_and_nothing_to_press_or_to_fill_in_is_out_of_sight(
    visit: Callable[..., Visit], shop: Shop
) -> None:
    operator = visit(viewport=PHONE, is_mobile=True, has_touch=True)
    wide, found = {}, {}
    for name, go in PAGES.items():
        go(operator, shop)
        width = operator.page.evaluate("document.scrollingElement.scrollWidth")
        if width > PHONE["width"] + 1:
            wide[name] = width
        if hidden := operator.page.evaluate(OUT_OF_SIGHT):
            found[name] = hidden
    assert (wide, found) == ({}, {})


@pytest.mark.parametrize(
    "name", ["order", "delivery", "subscription", "replay", "new replay", "backfill", "dashboard", "preview"]
)
def test_no_page_is_wider_than_a_desk(visit: Callable[..., Visit], shop: Shop, name: str) -> None:
    operator = visit(viewport=DESK)
    PAGES[name](operator, shop)
    assert operator.page.evaluate("document.scrollingElement.scrollWidth") <= DESK["width"]


def test_on_a_phone_the_dashboard_shows_all_of_a_subscription_to_look_at(
    visit: Callable[..., Visit], shop: Shop
) -> None:
    operator = visit(viewport=PHONE, is_mobile=True, has_touch=True)
    PAGES["dashboard"](operator, shop)
    cells = operator.page.locator(".orderhooks-unhealthy td")
    boxes = [cell.bounding_box() for cell in cells.all()]
    assert len(boxes) % 6 == 0
    assert boxes
    for box in boxes:
        assert box is not None
        assert box["x"] + box["width"] <= PHONE["width"]
    for row in operator.page.locator(".orderhooks-unhealthy tbody tr").all():
        # No cell makes the row taller than its own contents.
        gaps = row.evaluate("row => row.clientHeight - [...row.cells].reduce((sum, one) => sum + one.offsetHeight, 0)")
        assert gaps <= 20


# How far what is shown of a body reaches beyond its section, in pixels, if it does.
BEYOND = """() => [...document.querySelectorAll(".orderhooks-text, fieldset details textarea")]
  .map(one => [one.className || one.tagName, one.getBoundingClientRect().right, one.closest("fieldset")])
  .filter(([name, right, section]) => right > section.getBoundingClientRect().right)
  .map(([name, right]) => `${name}: ${right}`)"""


@pytest.mark.parametrize("name", ["delivery", "event"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_body_that_is_opened_to_be_copied_stays_in_its_section(
    visit: Callable[..., Visit], shop: Shop, name: str, viewport: dict[str, int]
) -> None:
    operator = visit(viewport=viewport)
    PAGES[name](operator, shop)
    operator.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert operator.page.locator(".orderhooks-copy textarea").first.is_visible()
    assert operator.page.evaluate(BEYOND) == []
    assert operator.page.evaluate("document.scrollingElement.scrollWidth") <= viewport["width"]
