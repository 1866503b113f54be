"""Parcels: what the warehouse packs."""

from django.db import models


class Parcel(models.Model):
    """The parcel of a paid order."""

    # One parcel for each order, however often the event of its payment arrives.
    order_id = models.CharField(max_length=64, unique=True)
    order_number = models.CharField(max_length=64)
    recipient = models.CharField(max_length=200)
    contents = models.JSONField(default=list)
    packed_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"parcel of order {self.order_number}"
