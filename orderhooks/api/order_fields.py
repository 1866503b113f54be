"""The fields of an order and its lines, and how a request writes them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from rest_framework import serializers

from orderhooks.api import access
from orderhooks.api.fields import MODEL_FIELD_MAPPING, MoneyField, StrictChoiceField, StrictIntegerField
from orderhooks.api.members import RowSerializer
from orderhooks.api.order_row_fields import ORDER_ROWS, FulfillmentSerializer, PaymentSerializer, RefundSerializer
from orderhooks.models import Order, OrderLine
from orderhooks.sources import BuiltInOrders

__all__ = ["OrderSerializer"]

MAX_LINES = 1000
# Written at their own URLs.
ROWS = ("fulfillments", "payments", "refunds")
AMOUNT_LIMIT = Decimal(10) ** 11
NUMBER_TAKEN = "The store already has an order with this number. Send another one, or leave it out to get one."


@dataclass(frozen=True, slots=True)
class LinePlan:
    """An order's lines after the request: all of them, those to save, and those to delete."""

    all: Sequence[OrderLine]
    to_save: Sequence[OrderLine]
    to_delete: Sequence[OrderLine]


class LineSerializer(RowSerializer):
    """A line of an order."""

    serializer_field_mapping = MODEL_FIELD_MAPPING
    quantity = StrictIntegerField(min_value=1, required=False)
    fulfilled_quantity = StrictIntegerField(min_value=0, required=False)
    unit_price = MoneyField(required=False)

    class Meta:
        model = OrderLine
        fields = ["id", "sku", "name", "quantity", "fulfilled_quantity", "unit_price"]


class OrderSerializer(RowSerializer):
    """An order with its lines.

    If `lines` is sent, it replaces all lines. A line with an SKU that the order already has changes that line, and
    fields that are not sent keep their values.

    `subtotal` is the sum of the lines, and `total` is computed from the amounts, unless they are sent.
    """

    serializer_field_mapping = MODEL_FIELD_MAPPING
    serializer_choice_field = StrictChoiceField

    subtotal = MoneyField(required=False)
    discount = MoneyField(required=False)
    shipping = MoneyField(required=False)
    tax = MoneyField(required=False)
    total = MoneyField(required=False)
    lines = LineSerializer(many=True, required=False, max_length=MAX_LINES)  # type: ignore[call-arg]
    fulfillments = FulfillmentSerializer(many=True, read_only=True)
    payments = PaymentSerializer(many=True, read_only=True)
    refunds = RefundSerializer(many=True, read_only=True)

    class Meta:
        model = Order
        fields = ["public_id", *BuiltInOrders.watched, "created_at", "updated_at", "lines", *ROWS]
        read_only_fields = ["public_id", "created_at", "updated_at"]
        # `validate` checks the model's constraints, because its errors name the field.
        validators: list[Any] = []

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        self._require_store(attrs)
        self._require_free_number(attrs)
        if "lines" in attrs:
            attrs["lines"] = self._plan(attrs["lines"])
        return attrs | self._amounts(attrs)

    def create(self, validated_data: dict[str, Any]) -> Order:
        return self._write(Order(), validated_data)

    def update(self, instance: Order, validated_data: dict[str, Any]) -> Order:
        return self._write(instance, validated_data)

    def _write(self, order: Order, fields: dict[str, Any]) -> Order:
        plan: LinePlan | None = fields.pop("lines", None)
        for name, value in fields.items():
            setattr(order, name, value)
        try:
            with transaction.atomic(using=Order.objects.db):
                order.save()
                for line in plan.to_delete if plan else ():
                    line.delete()
                for line in plan.to_save if plan else ():
                    line.order = order
                    line.save()
        except IntegrityError:
            # Another request may have taken the number since it was checked.
            if self._number_taken(order.number, order.store, order.pk):
                raise serializers.ValidationError({"number": [NUMBER_TAKEN]}, code="taken") from None
            raise
        return Order.objects.prefetch_related(*ORDER_ROWS).get(pk=order.pk)

    def _require_store(self, attrs: Mapping[str, Any]) -> None:
        # Checked first, so that no error shows which numbers other stores have.
        store, stores = self._value("store", attrs), access.order_stores_of(self.context["request"].user)
        if stores is not None and store not in stores:
            allowed = ", ".join(sorted(stores)) or "none"
            text = f"You may not write orders of the store {store!r}. Your stores: {allowed}."
            raise serializers.ValidationError({"store": [text]}, code="store")

    def _require_free_number(self, attrs: Mapping[str, Any]) -> None:
        number, store = self._value("number", attrs), self._value("store", attrs)
        if self.instance is not None and not number:
            text = "Only a new order gets a number. Send the number of this order."
            raise serializers.ValidationError({"number": [text]}, code="number")
        if number and self._number_taken(number, store, self.instance.pk if self.instance else None):
            raise serializers.ValidationError({"number": [NUMBER_TAKEN]}, code="taken")

    @staticmethod
    def _number_taken(number: str, store: str, pk: int | None) -> bool:
        others = Order.objects.filter(store=store, number=number)
        return (others if pk is None else others.exclude(pk=pk)).exists()

    def _plan(self, given: Sequence[Mapping[str, Any]]) -> LinePlan:
        existing: dict[str, list[OrderLine]] = defaultdict(list)
        for line in self._lines():
            existing[line.sku].append(line)
        lines, to_save, errors = [], [], []
        for fields in given:
            known = existing.get(fields.get("sku", ""))
            line = known.pop(0) if known else OrderLine()
            before = {name: getattr(line, name) for name in fields}
            for name, value in fields.items():
                setattr(line, name, value)
            errors.append(_line_errors(line))
            lines.append(line)
            if line.pk is None or before != dict(fields):
                to_save.append(line)
        if any(errors):
            raise serializers.ValidationError({"lines": errors}, code="line")
        return LinePlan(lines, to_save, [line for left in existing.values() for line in left])

    def _amounts(self, attrs: Mapping[str, Any]) -> dict[str, Decimal]:
        parts = {"lines", "subtotal", "discount", "shipping", "tax"}
        computed: dict[str, Decimal] = {}
        if "lines" in attrs and "subtotal" not in attrs:
            computed["subtotal"] = sum((line.unit_price * line.quantity for line in attrs["lines"].all), Decimal(0))
        if "total" not in attrs and parts & attrs.keys():
            now = {
                name: self._value(name, {**attrs, **computed}) for name in ("subtotal", "discount", "shipping", "tax")
            }
            computed["total"] = max(Decimal(0), now["subtotal"] - now["discount"] + now["shipping"] + now["tax"])
        for name, amount in computed.items():
            if amount >= AMOUNT_LIMIT:
                text = f"The result is {amount:f}, which is too large. Lower the prices or quantities."
                raise serializers.ValidationError({name: [text]}, code="amount")
        return computed

    def _value(self, name: str, attrs: Mapping[str, Any]) -> Any:
        """The value that a field will have after saving."""
        return attrs[name] if name in attrs else getattr(self.instance or Order(), name)

    def _lines(self) -> Sequence[OrderLine]:
        return list(self.instance.lines.all()) if self.instance else []


def _line_errors(line: OrderLine) -> dict[str, list[str]]:
    # In a PATCH no field is required, except those of a new line.
    errors = {name: ["A new line needs this field."] for name in ("sku", "name") if not getattr(line, name)}
    if line.fulfilled_quantity > line.quantity:
        errors["fulfilled_quantity"] = [f"This must be at most the quantity, {line.quantity}."]
    return errors
