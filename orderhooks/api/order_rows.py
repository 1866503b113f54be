"""An order's fulfillments, payments and refunds in the API. What is written of them is a change of the order."""

from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import mixins
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import permissions, sources
from orderhooks.api import access
from orderhooks.api.openapi.descriptions import ApiResponse, Operation, describe, page_of
from orderhooks.api.openapi.parameters import paging
from orderhooks.api.order_row_fields import FulfillmentSerializer, PaymentSerializer, RefundSerializer
from orderhooks.api.orders import in_a_transaction
from orderhooks.api.protocol import history
from orderhooks.api.resources import ResourceViewSet
from orderhooks.models import Fulfillment, Order, Payment, Refund

__all__ = ["FulfillmentViewSet", "PaymentViewSet", "RefundViewSet"]

# Texts of the OpenAPI document.
STATUS_STAYS = "It changes no status of the order: send that to the order itself."
FULFILLMENT = {
    "carrier": "DHL",
    "tracking_number": "00340434161094015902",
    "tracking_url": "https://www.dhl.com/track?id=00340434161094015902",
    "shipped_at": "2026-11-24T06:00:00Z",
    "lines": [{"line": 1, "quantity": 1}],
}
PAYMENT = {"amount": "24.80", "method": "card", "reference": "ch_3P2"}
REFUND = {"amount": "4.90", "method": "card", "reference": "re_7K1", "reason": "The parcel was late."}
LINES_NOT_VALID = "The content is not valid: for example, a line belongs to another order, or has fewer pieces."
AMOUNT_NOT_VALID = "The content is not valid: for example, the amount is zero."
MAX_DIGITS = 18

Row = TypeVar("Row", bound=Model)


class _OrderRowsViewSet(mixins.CreateModelMixin, mixins.ListModelMixin, ResourceViewSet[Row]):
    """Rows of one order of the stores that the user may see."""

    public_id_prefix = "ord_"
    ordered_by = "id"
    lookup_url_kwarg = "id"
    # How the admin's history names a row.
    noun: ClassVar[str]

    @classmethod
    def is_offered(cls) -> bool:
        return sources.built_in_orders_are_used()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.order = self._find_order(access.orders_of(request.user))

    def _find_order(self, orders: QuerySet[Order]) -> Order:
        order = orders.filter(public_id=self.kwargs["public_id"]).first()
        if order is None:
            raise NotFound("Not found.")
        return order

    def lock_order(self) -> None:
        """Lock the order, so that no other request changes or deletes its lines before this one has ended."""
        self.order = self._find_order(access.orders_of(self.request.user).select_for_update())

    def get_queryset(self) -> QuerySet[Row]:
        return super().get_queryset().filter(order=self.order)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "order": getattr(self, "order", None)}

    @in_a_transaction
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.lock_order()
        return super().create(request, *args, **kwargs)

    def perform_create(self, serializer: Any) -> None:
        row = serializer.save()
        history.log_change(self.request, self.order, f"Added the {self.noun} {row.pk}.")


class FulfillmentViewSet(_OrderRowsViewSet[Fulfillment]):
    """The fulfillments of an order."""

    queryset = Fulfillment.objects.prefetch_related("lines")
    serializer_class = FulfillmentSerializer
    noun = "fulfillment"
    required_permissions = {
        "list": [permissions.VIEW_ORDER],
        "create": [permissions.VIEW_ORDER, permissions.ADD_FULFILLMENT],
        "partial_update": [permissions.VIEW_ORDER, permissions.CHANGE_FULFILLMENT],
    }
    inherited_operations = {
        "list": Operation(
            "listFulfillments",
            "List an order's fulfillments",
            {200: ApiResponse("A page of fulfillments, newest first.", page_of(FulfillmentSerializer))},
            parameters=paging("id"),
        ),
        "create": Operation(
            "createFulfillment",
            "Add a fulfillment",
            {201: ApiResponse("The fulfillment.", FulfillmentSerializer)},
            description=f"Adds a fulfillment with its lines in one transaction. {STATUS_STAYS}",
            request=FulfillmentSerializer,
            example=FULFILLMENT,
            problems={422: LINES_NOT_VALID},
        ),
    }

    @describe(
        "changeFulfillment",
        "Change some fields of a fulfillment",
        {200: ApiResponse("The changed fulfillment.", FulfillmentSerializer)},
        description="Fields that are not sent keep their values. If `lines` is sent, it replaces all lines. A line that"
        f" was there before keeps its id. {STATUS_STAYS}",
        request=FulfillmentSerializer,
        example={"delivered_at": "2026-11-25T09:30:00Z"},
        problems={422: LINES_NOT_VALID},
    )
    @in_a_transaction
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the tracking, the times or the lines of a fulfillment."""
        self.lock_order()
        fulfillment = self._find_fulfillment()
        serializer: Any = self.get_serializer(fulfillment, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        fulfillment = serializer.save()
        # Only names of fields: the history must not show what a client sent.
        changed = [name for name, field in serializer.fields.items() if name in request.data and not field.read_only]
        text = f"Changed {', '.join(changed) or 'nothing'} of the fulfillment {fulfillment.pk}."
        history.log_change(request, self.order, text)
        return Response(self.get_serializer(fulfillment).data)

    def _find_fulfillment(self) -> Fulfillment:
        key = self.kwargs["id"]
        row = None
        if key.isascii() and key.isdecimal() and len(key) <= MAX_DIGITS:
            row = self.get_queryset().filter(pk=key).first()
        if row is None:
            raise NotFound("Not found.")
        return row


class PaymentViewSet(_OrderRowsViewSet[Payment]):
    """The payments of an order."""

    queryset = Payment.objects.select_related("order")
    serializer_class = PaymentSerializer
    noun = "payment"
    required_permissions = {
        "list": [permissions.VIEW_ORDER],
        "create": [permissions.VIEW_ORDER, permissions.ADD_PAYMENT],
    }
    inherited_operations = {
        "list": Operation(
            "listPayments",
            "List an order's payments",
            {200: ApiResponse("A page of payments, newest first.", page_of(PaymentSerializer))},
            parameters=paging("id"),
        ),
        "create": Operation(
            "createPayment",
            "Add a payment",
            {201: ApiResponse("The payment.", PaymentSerializer)},
            description=f"The amount is in the order's currency. {STATUS_STAYS}",
            request=PaymentSerializer,
            example=PAYMENT,
            problems={422: AMOUNT_NOT_VALID},
        ),
    }


class RefundViewSet(_OrderRowsViewSet[Refund]):
    """The refunds of an order."""

    queryset = Refund.objects.select_related("order")
    serializer_class = RefundSerializer
    noun = "refund"
    required_permissions = {
        "list": [permissions.VIEW_ORDER],
        "create": [permissions.VIEW_ORDER, permissions.ADD_REFUND],
    }
    inherited_operations = {
        "list": Operation(
            "listRefunds",
            "List an order's refunds",
            {200: ApiResponse("A page of refunds, newest first.", page_of(RefundSerializer))},
            parameters=paging("id"),
        ),
        "create": Operation(
            "createRefund",
            "Add a refund",
            {201: ApiResponse("The refund.", RefundSerializer)},
            description=f"The amount is in the order's currency. {STATUS_STAYS}",
            request=RefundSerializer,
            example=REFUND,
            problems={422: AMOUNT_NOT_VALID},
        ),
    }
