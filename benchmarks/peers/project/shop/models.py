from django.db import models


class Order(models.Model):
    """An order that makes a body of 1.4 KB, as orderhooks' own does."""

    number = models.CharField(max_length=64)
    customer_name = models.CharField(max_length=200)
    total = models.CharField(max_length=32)
    note = models.TextField()

    def __str__(self) -> str:
        return self.number
