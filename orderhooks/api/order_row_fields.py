"""The fields of fulfillments, payments and refunds, and how a request writes them.

The order is in the serializer's context.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction
from rest_framework import serializers

from orderhooks.api.fields import MODEL_FIELD_MAPPING, MoneyField, RowIdField, StrictIntegerField, StrictUrlField
from orderhooks.api.members import RowSerializer
from orderhooks.models import Fulfillment, FulfillmentLine, OrderLine, Payment, Refund
from orderhooks.models.fulfillments import problems_of_line
from orderhooks.models.payments import SMALLEST_AMOUNT

__all__ = ["ORDER_ROWS", "FulfillmentSerializer", "PaymentSerializer", "RefundSerializer"]

# What an order shows, for `prefetch_related`.
ORDER_ROWS = ("lines", "fulfillments__lines", "payments", "refunds")
MAX_LINES = 1000


class FulfillmentLineSerializer(RowSerializer):
    """How many pieces of a line of the order are in a fulfillment."""

    serializer_field_mapping = MODEL_FIELD_MAPPING
    line = RowIdField(source="line_id", help_text="The id of a line of the order.")
    quantity = StrictIntegerField(min_value=1)

    class Meta:
        model = FulfillmentLine
        fields = ["id", "line", "quantity"]


class FulfillmentSerializer(RowSerializer):
    """A shipment of an order or of a part of it.

    If `lines` is sent, it replaces all lines. A line that was there before keeps its id.
    """

    serializer_field_mapping = MODEL_FIELD_MAPPING
    tracking_url = StrictUrlField(max_length=500, required=False, allow_blank=True)
    lines = FulfillmentLineSerializer(many=True, required=False, max_length=MAX_LINES)  # type: ignore[call-arg]

    class Meta:
        model = Fulfillment
        fields = ["id", "carrier", "tracking_number", "tracking_url", "shipped_at", "delivered_at", "lines"]

    def validate_lines(self, lines: Sequence[Mapping[str, Any]]) -> dict[OrderLine, int]:
        """The lines of the order, with the quantities to be in the fulfillment."""
        order = self.context["order"]
        known = {line.pk: line for line in order.lines.all()}
        chosen: dict[OrderLine, int] = {}
        errors: list[dict[str, list[Any]]] = []
        for given in lines:
            # In a PATCH no field is required.
            missing = [name for name, source in (("line", "line_id"), ("quantity", "quantity")) if source not in given]
            line = known.get(given.get("line_id", 0))
            if missing:
                errors.append({name: ["This field is required."] for name in missing})
            elif line is None:
                errors.append({"line": ["The order has no line with this id."]})
            elif line in chosen:
                errors.append({"line": ["This line is sent twice. Send it once, with the whole quantity."]})
            else:
                problems = problems_of_line(line, given["quantity"], order_pk=order.pk)
                errors.append({name: [str(text)] for name, text in problems.items()})
                chosen[line] = given["quantity"]
        if any(errors):
            raise serializers.ValidationError(errors, code="line")
        return chosen

    def create(self, validated_data: dict[str, Any]) -> Fulfillment:
        return self._write(Fulfillment(order=self.context["order"]), validated_data)

    def update(self, instance: Fulfillment, validated_data: dict[str, Any]) -> Fulfillment:
        return self._write(instance, validated_data)

    def _write(self, fulfillment: Fulfillment, fields: dict[str, Any]) -> Fulfillment:
        lines: dict[OrderLine, int] | None = fields.pop("lines", None)
        for name, value in fields.items():
            setattr(fulfillment, name, value)
        with transaction.atomic(using=Fulfillment.objects.db):
            fulfillment.save()
            if lines is not None:
                fulfillment.set_lines(lines)
        return Fulfillment.objects.prefetch_related("lines").get(pk=fulfillment.pk)


class _AmountSerializer(RowSerializer):
    serializer_field_mapping = MODEL_FIELD_MAPPING
    amount = MoneyField()

    def validate_amount(self, amount: Decimal) -> Decimal:
        if amount < SMALLEST_AMOUNT:
            raise serializers.ValidationError("Send an amount above zero.", code="amount")
        return amount

    def create(self, validated_data: dict[str, Any]) -> Any:
        return super().create({**validated_data, "order": self.context["order"]})


class PaymentSerializer(_AmountSerializer):
    """Money that arrived for an order."""

    class Meta:
        model = Payment
        fields = ["id", "amount", "method", "reference", "received_at"]


class RefundSerializer(_AmountSerializer):
    """Money that went back to the customer."""

    class Meta:
        model = Refund
        fields = ["id", "amount", "method", "reference", "reason", "refunded_at"]
