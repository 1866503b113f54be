"""Oscar's configuration of the checkout, with the views beside it."""

from oscar.apps.checkout import apps


class CheckoutConfig(apps.CheckoutConfig):  # type: ignore[misc]
    name = "oscar_shop.checkout"
