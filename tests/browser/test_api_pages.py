"""The pages that show the API's document: they work under their own strict policy, from the store's own files."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit


def test_swagger_ui_shows_every_resource_and_sends_requests(operator: Visit):
    page = operator.page
    page.goto("/api/docs/")
    expect(page.get_by_role("heading", name="orderhooks")).to_be_visible()
    for resource in ("orders", "subscriptions", "deliveries"):
        expect(page.locator(f"#operations-tag-{resource}")).to_be_visible()
    page.locator("#operations-orders-createOrder button.opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    # It is sent as who is logged in, with the token against forged requests.
    expect(page.locator(".live-responses-table td.response-col_status", has_text="201")).to_be_visible()


def test_redoc_shows_operations_and_webhooks(operator: Visit):
    page = operator.page
    page.goto("/api/redoc/")
    expect(page.get_by_role("heading", name="Create an order")).to_be_visible()
    expect(page.get_by_role("heading", name="order.paid").first).to_be_visible()
    # The search runs in a worker.
    page.get_by_role("textbox", name="Search").fill("replay")
    expect(page.get_by_role("search").get_by_role("menuitem", name="Read a replay")).to_be_visible()
