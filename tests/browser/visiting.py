"""A visitor of the admin: what a person does there, in a person's words."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from playwright.sync_api import Locator, Page, expect

PASSWORD = "a password for tests alone"


@dataclass(frozen=True)
class Visit:
    page: Page
    user: User

    def log_in(self) -> None:
        self.page.goto("/admin/login/?next=/admin/")
        self.page.get_by_label("Username").fill(self.user.get_username())
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", name="Site administration")).to_be_visible()

    def go(self, address: str) -> None:
        self.page.goto(f"/admin/orderhooks/{address}")

    def follow(self, name: str) -> None:
        self.link(name).click()

    def press(self, name: str) -> None:
        self.button(name).click()

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("link", name=name, exact=True)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def reads(self, text: str) -> None:
        """Waits until it stands on the page."""
        expect(self.page.get_by_role("main")).to_contain_text(text)

    def heading(self, name: str) -> None:
        expect(self.page.get_by_role("heading", name=name).first).to_be_visible()

    def search(self, term: str) -> None:
        self.page.locator("#searchbar").fill(term)
        self.press("Search")

    def run_action(self, name: str, rows: int | None = None) -> None:
        """On the first rows of a list, or on all of the page."""
        expect(self.page.locator("#result_list")).to_be_visible()
        boxes = self.page.locator("#result_list tbody .action-select")
        for number in range(rows if rows is not None else boxes.count()):
            boxes.nth(number).check()
        self.page.get_by_label("Action:").select_option(label=name)
        # Django 5.2 calls it Go, later ones Run.
        self.page.locator("button[name=index]").first.click()

    def go_until(self, address: str, what: Locator, text: str) -> None:
        """Looks again until the page says it: the worker records what it did a little later."""
        for _ in range(100):
            self.go(address)
            if what.count() and text in (what.first.text_content() or ""):
                return
            self.page.wait_for_timeout(50)
        expect(what.first).to_contain_text(text)
