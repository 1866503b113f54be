"""Order models of shapes that orderhooks' own does not have."""

import uuid
from decimal import Decimal
from typing import Any

from django.db import connection, models
from django.db.models import F, Value
from django.db.models.functions import Coalesce, RowNumber, Upper

from tests.shapes.fields import AmountField, SealedField, next_number

IS_POSTGRES = connection.vendor == "postgresql"


class Customer(models.Model):
    name = models.CharField(max_length=20)


class Stateful(models.Model):
    state = models.CharField(max_length=20, default="open")

    class Meta:
        abstract = True


class UuidOrder(Stateful):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class TextOrder(Stateful):
    code = models.CharField(max_length=40, primary_key=True)


class LongOrder(Stateful):
    """Its key may be longer than what is kept."""

    code = models.CharField(max_length=400, primary_key=True)


class CompositeOrder(Stateful):
    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.CharField(max_length=20)
    number = models.IntegerField()


class CompositeLine(models.Model):
    """Points at both columns of its order's key."""

    tenant = models.CharField(max_length=20)
    number = models.IntegerField()
    order = models.ForeignObject(
        CompositeOrder, models.CASCADE, ("tenant", "number"), ("tenant", "number"), related_name="lines"
    )
    sku = models.CharField(max_length=20)


class NumberedOrder(Stateful):
    """Its lines point at its number."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.CharField(max_length=20, unique=True)


class NumberedLine(models.Model):
    order = models.ForeignKey(NumberedOrder, models.CASCADE, to_field="number", related_name="lines")
    sku = models.CharField(max_length=20)


class Document(Stateful):
    """A parent model."""


class InvoiceOrder(Document):
    """A child model: an order in two tables."""

    reference = models.CharField(max_length=20, default="")


class DocumentLine(models.Model):
    """Points at the parent."""

    document = models.ForeignKey(Document, models.CASCADE, related_name="lines")
    sku = models.CharField(max_length=20)


class PlainOrder(Stateful):
    pass


class ProxyOrder(PlainOrder):
    class Meta:
        proxy = True


class PlainChild(PlainOrder):
    """A child of the model that a proxy stands for."""

    colour = models.CharField(max_length=20, default="")


class _Hiding(models.Manager):
    def get_queryset(self) -> Any:
        return super().get_queryset().none()


class _Joining(models.Manager):
    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("customer")


class ManagedOrder(Stateful):
    """Its default manager hides it, its base manager joins."""

    customer = models.ForeignKey(Customer, models.SET_NULL, null=True)

    objects = _Hiding()
    joined = _Joining()

    class Meta:
        base_manager_name = "joined"


class SortedOrder(Stateful):
    """Sorted by an expression with a parameter."""

    priority = models.IntegerField(null=True)

    class Meta:
        ordering = [Coalesce("priority", Value(99)), "id"]


class DutifulOrder(Stateful):
    """Its constructor insists on a value."""

    def __init__(self, *args: Any, **values: Any) -> None:
        if not args and "state" not in values:
            raise TypeError("An order needs a state.")
        super().__init__(*args, **values)


class SerialOrder(Stateful):
    """Its default takes a number from a series."""

    number = models.CharField(max_length=20, default=next_number)


class PricedOrder(Stateful):
    total = AmountField(max_digits=10, decimal_places=2, default=Decimal(0))


class OddOrder(Stateful):
    """Fields of many kinds."""

    secret = SealedField(default="")
    details = models.JSONField(default=dict)
    photo = models.BinaryField(default=b"")
    weight = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(0))
    due_on = models.DateTimeField(null=True)
    origin = models.CharField(max_length=20, db_default="shop")
    heavy = models.GeneratedField(expression=F("weight") * 2, output_field=models.FloatField(), db_persist=True)


class TypedOrder(models.Model):
    """A field of each type that Django has, with what limits its values."""

    class State(models.TextChoices):
        NEW = "new", "New"
        PAID = "paid", "Paid"

    state = models.CharField(max_length=10, choices=State, default=State.NEW)
    channel = models.CharField(max_length=10, choices=[("web", "Web"), ("till", "Till")], blank=True, null=True)  # noqa: DJ001
    rank = models.IntegerField(choices=[("Low", [(1, "One")]), ("High", [(9, "Nine")])], default=9)
    currency = models.CharField(max_length=2, default="")
    contact = models.EmailField(null=True)  # noqa: DJ001
    pieces = models.PositiveSmallIntegerField(default=0)
    rate = models.DecimalField(max_digits=8, decimal_places=8, default=Decimal(0))
    discount = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    score = models.FloatField(default=0)
    is_gift = models.BooleanField(default=False)
    due_at = models.DateTimeField(null=True)
    due_on = models.DateField(null=True)
    due_by = models.TimeField(null=True)
    takes = models.DurationField(null=True)
    tag = models.UUIDField(null=True)
    source_ip = models.GenericIPAddressField(null=True)
    receipt = models.FileField(null=True)
    raw = models.BinaryField(default=b"")
    extra = models.JSONField(default=dict)
    customer = models.ForeignKey(Customer, models.SET_NULL, null=True, related_name="orders")
    numbered = models.ForeignKey("NumberedOrder", models.SET_NULL, null=True, to_field="number", related_name="+")


class Receipt(models.Model):
    """At most one of each order."""

    order = models.OneToOneField(TypedOrder, models.CASCADE, related_name="slip")
    number = models.CharField(max_length=20)


if IS_POSTGRES:
    from django.contrib.postgres import fields as postgres
    from django.contrib.postgres.fields import ArrayField

    class ListOrder(Stateful):
        tags = ArrayField(models.CharField(max_length=20), default=list)
        prices = ArrayField(models.DecimalField(max_digits=8, decimal_places=2), default=list)

        matrix = ArrayField(ArrayField(models.DecimalField(max_digits=8, decimal_places=2)), default=list)
        pair = ArrayField(models.DecimalField(max_digits=8, decimal_places=2), size=2, default=list)
        ticks = ArrayField(models.BooleanField(), default=list)
        details = ArrayField(models.JSONField(), default=list)
        times = ArrayField(models.DateTimeField(), default=list)

    class RangeOrder(Stateful):
        """To be delivered within a range of times."""

        slot = postgres.DateTimeRangeField(null=True)
        days = postgres.DateRangeField(null=True)
        sizes = postgres.IntegerRangeField(null=True)
        prices = postgres.DecimalRangeField(null=True)


class SchemaOrder(Stateful):
    """In another schema, by a quoted name that holds the schema. A test that needs the table makes it."""

    class Meta:
        managed = False
        db_table = '"orderhooks_shop"."Shop Orders"'


class CartLine(models.Model):
    """A line of a cart, which has no order, or of an order."""

    order = models.ForeignKey(PlainOrder, models.SET_NULL, null=True, related_name="lines")
    sku = models.CharField(max_length=20)


class Placed(models.Manager["Address"]):
    def get_queryset(self) -> "models.QuerySet[Address]":
        return super().get_queryset().annotate(place=Upper("city"))


class Address(models.Model):
    """Its base manager, by which an order reaches it, adds something."""

    city = models.CharField(max_length=40)
    unwatched = models.CharField(max_length=40, default="")
    log = models.JSONField(default=dict)

    objects = Placed()

    class Meta:
        base_manager_name = "objects"


class Purchase(Stateful):
    """An order with rows of several kinds beside it."""

    total = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(0))
    billing = models.ForeignKey(Address, models.SET_NULL, null=True, related_name="+")
    delivery = models.ForeignKey(Address, models.SET_NULL, null=True, related_name="+")


class NotRemoved(models.Manager["PurchaseLine"]):
    """The manager of an order's lines is made without an argument: it hides some, and counts the others."""

    def __init__(self, *, hides: bool = True) -> None:
        super().__init__()
        self.hides = hides

    def get_queryset(self) -> "models.QuerySet[PurchaseLine]":
        rows = super().get_queryset()
        if not self.hides:
            return rows
        return rows.exclude(sku="removed").annotate(place=models.Window(RowNumber(), order_by="pk"))


class PurchaseLine(models.Model):
    order = models.ForeignKey(Purchase, models.CASCADE, related_name="lines")
    sku = models.CharField(max_length=20)

    objects = NotRemoved(hides=False)


class Payment(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    order = models.ForeignKey(Purchase, models.CASCADE, related_name="payments")
    amount = models.DecimalField(max_digits=8, decimal_places=2)


class Parcel(models.Model):
    """Belongs to a line, and so to an order."""

    line = models.ForeignKey(PurchaseLine, models.CASCADE, related_name="parcels")
    tracking = models.CharField(max_length=20, default="")
