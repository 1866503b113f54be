"""The form on the home page: the quantities, and the customer."""

from typing import Any

from django import forms

from shop.models import Product


class OrderForm(forms.Form):
    """One quantity for each product, and the customer. `quantities()` is what was chosen."""

    customer_name = forms.CharField(
        label="Your name", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    customer_email = forms.EmailField(
        label="Your e-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.products = {f"quantity-{product.sku}": product for product in Product.objects.all()}
        for name, product in self.products.items():
            self.fields[name] = forms.IntegerField(
                label=f"How many of {product.name}",
                required=False,
                min_value=0,
                widget=forms.NumberInput(attrs={"inputmode": "numeric", "placeholder": "0"}),
                error_messages={
                    "min_value": "Choose 0 or more.",
                    "invalid": "Write a whole number.",
                },
            )

    def clean(self) -> None:
        for name, product in self.products.items():
            if (self.cleaned_data.get(name) or 0) > max(product.stock, 0):
                left = f"only {product.stock} left" if product.stock > 0 else "sold out"
                self.add_error(name, f"Choose fewer: {left}.")
        if not any(name in self.errors for name in self.products) and not self.quantities():
            self.add_error(None, "Choose how many you want of at least one product.")

    def quantities(self) -> dict[Product, int]:
        return {
            product: self.cleaned_data[name] for name, product in self.products.items() if self.cleaned_data.get(name)
        }

    def rows(self) -> list[tuple[Product, forms.BoundField]]:
        """For the page: each product beside its field."""
        return [(product, self[name]) for name, product in self.products.items()]

    def customer(self) -> list[forms.BoundField]:
        return [self["customer_name"], self["customer_email"]]
