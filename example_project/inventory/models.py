"""The inventory's book: every change of stock, and which order it was for."""

from django.db import models


class StockMove(models.Model):
    """Pieces taken for an order (negative) or put back (positive)."""

    order_id = models.CharField(max_length=64, db_index=True)
    sku = models.CharField(max_length=100)
    pieces = models.IntegerField()
    event_id = models.CharField(max_length=64)
    sequence = models.BigIntegerField()
    moved_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        # An event moves an article once, however often it arrives.
        constraints = [models.UniqueConstraint(fields=["event_id", "sku"], name="inventory_move_once")]

    def __str__(self) -> str:
        return f"{self.pieces:+d} {self.sku}"
