"""Orders in the API: one request writes the order, its lines and its amounts, in one transaction."""

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import sources
from orderhooks.api import access
from orderhooks.api.fields import MODEL_FIELD_MAPPING, MoneyField, StrictChoiceField, StrictIntegerField
from orderhooks.api.filters import OrderFilters
from orderhooks.api.members import RowSerializer
from orderhooks.api.order_reports import order_report
from orderhooks.api.protocol import history
from orderhooks.api.protocol.etags import etag_of, is_known, require_match
from orderhooks.api.resources import ResourceViewSet
from orderhooks.models import Event, Order, OrderLine

MOST_LINES = 1000
LARGEST_AMOUNT = Decimal(10) ** 12
NUMBER_TAKEN = "The store has an order with this number. Use another, or leave it out and one is made."

Handler = Callable[..., Response]


def _in_a_transaction(handler: Handler) -> Handler:
    @functools.wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Response:
        # Which database that is may be asked only once the project's routers are there.
        with transaction.atomic(using=Order.objects.db):
            return handler(*args, **kwargs)

    return run


@dataclass(frozen=True, slots=True)
class LinePlan:
    """An order's lines as they shall be: all of them, those of them to save, and those to delete."""

    wanted: Sequence[OrderLine]
    changed: Sequence[OrderLine]
    gone: Sequence[OrderLine]


class LineSerializer(RowSerializer):
    serializer_field_mapping = MODEL_FIELD_MAPPING
    quantity = StrictIntegerField(min_value=1, required=False)
    fulfilled_quantity = StrictIntegerField(min_value=0, required=False)
    unit_price = MoneyField(required=False)

    class Meta:
        model = OrderLine
        fields = ["sku", "name", "quantity", "fulfilled_quantity", "unit_price"]


class OrderSerializer(RowSerializer):
    """`lines`, when given, are all the lines there shall be. A line whose SKU the order has already is that line, and
    keeps what is not given.

    `subtotal` is the sum of the lines unless it is given; `total` is worked out again whenever an amount or the lines
    are given and it is not.
    """

    serializer_field_mapping = MODEL_FIELD_MAPPING
    serializer_choice_field = StrictChoiceField

    subtotal = MoneyField(required=False)
    discount = MoneyField(required=False)
    shipping = MoneyField(required=False)
    tax = MoneyField(required=False)
    total = MoneyField(required=False)
    lines = LineSerializer(many=True, required=False, max_length=MOST_LINES)  # type: ignore[call-arg]

    class Meta:
        model = Order
        fields = [
            "public_id",
            "number",
            "store",
            "status",
            "payment_status",
            "fulfillment_status",
            "currency",
            "subtotal",
            "discount",
            "shipping",
            "tax",
            "total",
            "customer_name",
            "customer_email",
            "customer_phone",
            "billing_address",
            "shipping_address",
            "note",
            "metadata",
            "is_test",
            "placed_at",
            "created_at",
            "updated_at",
            "lines",
        ]
        read_only_fields = ["public_id", "created_at", "updated_at"]
        # The constraints are asked here, by field, for errors that name the field.
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
                for line in plan.gone if plan else ():
                    line.delete()
                for line in plan.changed if plan else ():
                    line.order = order
                    line.save()
        except IntegrityError:
            # Another request may have taken the number since it was looked for.
            if self._number_taken(order.number, order.store, order.pk):
                raise serializers.ValidationError({"number": [NUMBER_TAKEN]}, code="taken") from None
            raise
        return Order.objects.prefetch_related("lines").get(pk=order.pk)

    def _require_store(self, attrs: Mapping[str, Any]) -> None:
        # First, so that nothing is told of the numbers of other stores.
        store, stores = self._value("store", attrs), access.order_stores_of(self.context["request"].user)
        if stores is not None and store not in stores:
            allowed = ", ".join(sorted(stores)) or "none"
            text = f"You may not write orders of the store {store!r}. You may write those of: {allowed}."
            raise serializers.ValidationError({"store": [text]}, code="store")

    def _require_free_number(self, attrs: Mapping[str, Any]) -> None:
        number, store = self._value("number", attrs), self._value("store", attrs)
        if self.instance is not None and not number:
            text = "A number is made only for a new order. Give its number."
            raise serializers.ValidationError({"number": [text]}, code="number")
        if number and self._number_taken(number, store, self.instance.pk if self.instance else None):
            raise serializers.ValidationError({"number": [NUMBER_TAKEN]}, code="taken")

    @staticmethod
    def _number_taken(number: str, store: str, pk: int | None) -> bool:
        others = Order.objects.filter(store=store, number=number)
        return (others if pk is None else others.exclude(pk=pk)).exists()

    def _plan(self, given: Sequence[Mapping[str, Any]]) -> LinePlan:
        had: dict[str, list[OrderLine]] = defaultdict(list)
        for line in self._lines():
            had[line.sku].append(line)
        wanted, changed, errors = [], [], []
        for fields in given:
            known = had.get(fields.get("sku", ""))
            line = known.pop(0) if known else OrderLine()
            before = {name: getattr(line, name) for name in fields}
            for name, value in fields.items():
                setattr(line, name, value)
            errors.append(_line_errors(line))
            wanted.append(line)
            if line.pk is None or before != dict(fields):
                changed.append(line)
        if any(errors):
            raise serializers.ValidationError({"lines": errors}, code="line")
        return LinePlan(wanted, changed, [line for lines in had.values() for line in lines])

    def _amounts(self, attrs: Mapping[str, Any]) -> dict[str, Decimal]:
        parts = {"lines", "subtotal", "discount", "shipping", "tax"}
        made: dict[str, Decimal] = {}
        if "lines" in attrs and "subtotal" not in attrs:
            made["subtotal"] = sum((line.unit_price * line.quantity for line in attrs["lines"].wanted), Decimal(0))
        if "total" not in attrs and parts & attrs.keys():
            now = {name: self._value(name, {**attrs, **made}) for name in ("subtotal", "discount", "shipping", "tax")}
            made["total"] = max(Decimal(0), now["subtotal"] - now["discount"] + now["shipping"] + now["tax"])
        for name, amount in made.items():
            if amount >= LARGEST_AMOUNT:
                text = f"It comes to {amount:f}, more than an amount can hold. Lower prices or quantities."
                raise serializers.ValidationError({name: [text]}, code="amount")
        return made

    def _value(self, name: str, attrs: Mapping[str, Any]) -> Any:
        """A field as it will be once saved."""
        return attrs[name] if name in attrs else getattr(self.instance or Order(), name)

    def _lines(self) -> Sequence[OrderLine]:
        return list(self.instance.lines.all()) if self.instance else []


def _line_errors(line: OrderLine) -> dict[str, list[str]]:
    # A PATCH makes no field required, but a line that is new needs them.
    errors = {name: ["A new line needs it."] for name in ("sku", "name") if not getattr(line, name)}
    if line.fulfilled_quantity > line.quantity:
        errors["fulfilled_quantity"] = [f"No more can be fulfilled than the quantity, which is {line.quantity}."]
    return errors


class OrderViewSet(
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    mixins.ListModelMixin,
    ResourceViewSet[Order],
):
    queryset = Order.objects.prefetch_related("lines")
    serializer_class = OrderSerializer
    public_id_prefix = "ord_"
    filterset_class = OrderFilters
    required_permissions = {"webhooks": ["orderhooks.view_order", "orderhooks.view_delivery"]}

    def get_queryset(self) -> QuerySet[Order]:
        rows = access.orders_of(self.request.user).prefetch_related("lines")
        # What is not given stays as it is, and what was matched is what is changed, also beside another request.
        return rows.select_for_update() if self.action in ("update", "partial_update", "destroy") else rows

    @_in_a_transaction
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._tagged(super().create(request, *args, **kwargs))

    def perform_create(self, serializer: Any) -> None:
        history.log_addition(self.request, serializer.save())

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = self._tagged(super().retrieve(request, *args, **kwargs))
        if is_known(request, response["ETag"]):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": response["ETag"]})
        return response

    @_in_a_transaction
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The order, changed; 412 if `If-Match` names an ETag that it has no more."""
        order = self._matched(request)
        serializer = self.get_serializer(order, data=request.data, partial=kwargs.get("partial", False))
        serializer.is_valid(raise_exception=True)
        # Names of fields alone: what a client sends is not for the history.
        fields = self.get_serializer().get_fields()  # type: ignore[attr-defined]
        changed = [name for name, field in fields.items() if name in request.data and not field.read_only]
        history.log_change(request, serializer.save(), f"Changed {', '.join(changed) or 'nothing'}.")
        return self._tagged(Response(serializer.data))

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What is not given stays as it is."""
        return self.update(request, *args, partial=True, **kwargs)

    @_in_a_transaction
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        order = self._matched(request)
        history.log_deletion(request, order)
        order.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=True)
    def webhooks(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What came of its newest events for each subscription that the user sees, or why nothing did."""
        order = self.get_object()
        events = Event.objects.filter(source=sources.BuiltInOrders.name, order_pk=str(order.pk))
        if (stores := access.order_stores_of(request.user)) is not None:
            events = events.filter(store__in=stores)  # it may have been another store's before
        return order_report(request, events)

    def _matched(self, request: Request) -> Order:
        order = self.get_object()
        require_match(request, etag_of(self.get_serializer(order).data))
        return order

    @staticmethod
    def _tagged(response: Response) -> Response:
        response["ETag"] = etag_of(response.data)
        return response
