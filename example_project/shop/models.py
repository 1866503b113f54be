"""What the shop sells, and the secrets that its receivers check signatures with. Orders are orderhooks' own."""

from django.db import models
from django.db.models import Q


class Product(models.Model):
    """An article on the shelf."""

    sku = models.CharField("SKU", max_length=100, unique=True)
    name = models.CharField(max_length=200)
    price = models.DecimalField("price in EUR", max_digits=10, decimal_places=2)
    # Kept by the receiver `inventory`, a little later than the order: two customers can both take the last one, so it
    # may go below zero.
    stock = models.IntegerField(default=0)

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=Q(price__gte=0), name="shop_product_price")]

    def __str__(self) -> str:
        return self.name


class ReceiverSecret(models.Model):
    """The signing secret as the receiver keeps it. A receiver on a machine of its own has it in its environment."""

    receiver = models.CharField(max_length=100, unique=True)
    secret = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.receiver
