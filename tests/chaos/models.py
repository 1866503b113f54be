"""The store's own orders, for the rows in which it reads from a replica."""

import uuid

from django.db import models


def new_key() -> str:
    return uuid.uuid4().hex


class Customer(models.Model):
    name = models.CharField(max_length=40)


class Purchase(models.Model):
    id = models.CharField(max_length=40, primary_key=True, default=new_key)
    payment_status = models.CharField(max_length=20, default="pending")
    note = models.CharField(max_length=40, default="")
    customer = models.ForeignKey(Customer, models.CASCADE)

    @property
    def public_id(self) -> str:
        return self.id


class PurchaseItem(models.Model):
    purchase = models.ForeignKey(Purchase, models.CASCADE, related_name="items")
    sku = models.CharField(max_length=20)


class Slip(models.Model):
    """At most one of each purchase."""

    purchase = models.OneToOneField(Purchase, models.CASCADE, related_name="slip")
    number = models.CharField(max_length=40)
