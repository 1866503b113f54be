"""A customer at a keyboard that nobody sits at: uses the shop's pages over HTTP. Used by `demo` and `demo_check`."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import requests

# Long enough for a queue of writers in front of SQLite.
PATIENCE_SECONDS = 15


class ShopError(Exception):
    """The shop did not do what a customer wanted; the text says how it responded."""


class Customer:
    """Places orders and presses the buttons on their pages."""

    def __init__(self, address: str, name: str, email: str) -> None:
        self.address, self.name, self.email = address, name, email
        self.session = requests.Session()
        self.session.trust_env = False

    def place(self, quantities: Mapping[str, int]) -> str:
        """Order these quantities by SKU. Returns the order's public id. Raises ShopError."""
        fields = {f"quantity-{sku}": str(quantity) for sku, quantity in quantities.items()}
        response = self._send("", {**fields, "customer_name": self.name, "customer_email": self.email})
        parts = urlsplit(response.url).path.strip("/").split("/")
        if not response.ok or parts[0] != "orders":
            raise ShopError(
                f"The shop did not take an order of {dict(quantities)}: it responded with {response.status_code}."
            )
        return parts[1]

    def press(self, public_id: str, button: str) -> None:
        """Press a button on the order's page, by its name in `ordering.MOVES`. Raises ShopError."""
        response = self._send(f"orders/{public_id}/{button}/", {})
        if not response.ok:
            raise ShopError(f"The shop did not {button} order {public_id}: it responded with {response.status_code}.")

    def _send(self, path: str, fields: dict[str, str]) -> requests.Response:
        try:
            if "csrftoken" not in self.session.cookies:
                self.session.get(self.address, timeout=PATIENCE_SECONDS)
            token = self.session.cookies.get("csrftoken", "")
            return self.session.post(
                self.address + path,
                data={**fields, "csrfmiddlewaretoken": token},
                timeout=PATIENCE_SECONDS,
            )
        except requests.RequestException as error:
            raise ShopError(f"The shop did not respond: {error}") from None
