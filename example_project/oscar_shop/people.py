"""A customer in Oscar's checkout and an operator in its dashboard, over HTTP. Used by `demo_oscar_check` and tests."""

from collections.abc import Iterable, Mapping

import requests
from django.db import connection
from oscar.core.loading import get_model

from shop.customers import PATIENCE_SECONDS, ShopError


class Person:
    """Somebody with a browser of their own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str) -> requests.Response:
        """Raises ShopError if the shop responds with an error."""
        return self._sent("GET", path, ())

    def post(self, path: str, fields: Iterable[tuple[str, str]]) -> requests.Response:
        """Raises ShopError if the shop responds with an error."""
        if "csrftoken" not in self.session.cookies:
            self.get("accounts/login/")
        token = ("csrfmiddlewaretoken", self.session.cookies.get("csrftoken") or "")
        return self._sent("POST", path, [*fields, token])

    def _sent(self, method: str, path: str, fields: Iterable[tuple[str, str]]) -> requests.Response:
        try:
            response = self.session.request(method, self.address + path, data=list(fields), timeout=PATIENCE_SECONDS)
        except requests.RequestException as error:
            raise ShopError(f"The shop did not respond: {error}") from None
        if not response.ok:
            raise ShopError(f"{method} {path}: the shop responded with {response.status_code}.")
        return response


class Guest(Person):
    """Buys without an account."""

    def __init__(self, address: str, name: str, email: str) -> None:
        super().__init__(address)
        self.name, self.email = name, email

    def buy(self, quantities: Mapping[str, int]) -> str:
        """Go through the checkout with these quantities by SKU. Returns the order's number. Raises ShopError."""
        for sku, quantity in quantities.items():
            article = get_model("catalogue", "Product").objects.get(upc=sku)
            self.post(f"basket/add/{article.pk}/", {"quantity": str(quantity)}.items())
        self.post("checkout/", {"username": self.email, "options": "anonymous"}.items())
        first, last = self.name.split()
        where = {"line1": "1 Kiln Lane", "line4": "Stoke", "postcode": "ST4 1AA"}
        self.post("checkout/shipping-address/", {"first_name": first, "last_name": last, **where}.items())
        self.get("checkout/shipping-method/")
        page = self.post("checkout/preview/", {"action": "place_order"}.items())
        if not page.url.endswith("/checkout/thank-you/"):
            raise ShopError(f"The checkout of {dict(quantities)} ended at {page.url}.")
        connection.close()  # to see what the server has committed
        order = get_model("order", "Order").objects.filter(guest_email=self.email).order_by("-pk").first()
        return str(order.number)


class Operator(Person):
    """Works in the dashboard."""

    def log_in(self, username: str, password: str) -> None:
        """Raises ShopError."""
        page = self.post("dashboard/login/", {"username": username, "password": password}.items())
        if "/login/" in page.url:
            raise ShopError("The dashboard did not let the operator in.")

    def ship(self, number: str, quantities: Mapping[str, int]) -> None:
        """Enter a shipping event of these quantities by SKU. Raises ShopError."""
        lines = get_model("order", "Line").objects.filter(order__number=number, partner_sku__in=quantities)
        chosen = [("selected_line", str(line.pk)) for line in lines]
        chosen += [(f"selected_line_qty_{line.pk}", str(quantities[line.partner_sku])) for line in lines]
        fields = {"line_action": "create_shipping_event", "shipping_event_type": "shipped", "reference": f"MT{number}"}
        self._press(number, [*fields.items(), *chosen], "Shipping event created")

    def refund(self, number: str, amount: object) -> None:
        """Enter a payment event. Raises ShopError."""
        fields = {"order_action": "create_order_payment_event", "payment_event_type": "refunded", "amount": str(amount)}
        self._press(number, fields.items(), "Payment event created")

    def set_status(self, number: str, status: str) -> None:
        """Raises ShopError."""
        fields = {"order_action": "change_order_status", "new_status": status}
        self._press(number, fields.items(), "Order status changed")

    def _press(self, number: str, fields: Iterable[tuple[str, str]], expected: str) -> None:
        page = self.post(f"dashboard/orders/{number}/", fields)
        if expected not in page.text:
            raise ShopError(f"The dashboard did not do it with order {number}: {expected!r} is not on its page.")
