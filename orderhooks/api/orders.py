"""Orders in the API. One request writes an order with its lines in one transaction."""

import functools
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import permissions, reporting, sources
from orderhooks.api import access
from orderhooks.api.filters import OrderFilters
from orderhooks.api.openapi.descriptions import ApiResponse, Operation, describe, page_of
from orderhooks.api.openapi.parameters import IF_MATCH, IF_NONE_MATCH
from orderhooks.api.order_fields import OrderSerializer
from orderhooks.api.order_reports import REPORT_DESCRIPTION, REPORT_RESPONSES, order_report
from orderhooks.api.order_row_fields import ORDER_ROWS
from orderhooks.api.protocol import history
from orderhooks.api.protocol.etags import etag_of, is_known, require_match
from orderhooks.api.resources import ResourceViewSet
from orderhooks.models import Order

# Texts of the OpenAPI document.
EXAMPLE = {
    "currency": "EUR",
    "shipping": "4.90",
    "customer_name": "Ada Byron",
    "customer_email": "ada@example.com",
    "shipping_address": {"city": "London"},
    "lines": [{"sku": "TEA-1", "name": "Green tea", "quantity": 2, "unit_price": "9.95"}],
}
AMOUNTS = "`subtotal` is the sum of the lines, and `total` is computed from the amounts, unless they are sent."
LINES = (
    "If `lines` is sent, it replaces all lines. A line with an SKU that the order already has changes that line, and"
    " fields that are not sent keep their values."
)
NOT_VALID = "The content is not valid: for example, the number is taken, or more is fulfilled than was ordered."
CHANGED_MEANWHILE = "The order has changed since you read it. Nothing was changed."

Handler = Callable[..., Response]


def in_a_transaction(handler: Handler) -> Handler:
    """Run the handler in one transaction, so that what it writes is one change of the order."""

    @functools.wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Response:
        # Looked up at each call, because the project's routers are not ready at import.
        with transaction.atomic(using=Order.objects.db):
            return handler(*args, **kwargs)

    return run


class OrderViewSet(
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    mixins.ListModelMixin,
    ResourceViewSet[Order],
):
    """Orders of the stores that the user may see."""

    queryset = Order.objects.prefetch_related(*ORDER_ROWS)
    serializer_class = OrderSerializer
    public_id_prefix = "ord_"
    filterset_class = OrderFilters
    required_permissions = {"webhooks": [permissions.VIEW_ORDER, permissions.VIEW_DELIVERY]}
    inherited_operations = {
        "list": Operation(
            "listOrders", "List orders", {200: ApiResponse("A page of orders, newest first.", page_of(OrderSerializer))}
        ),
    }

    @classmethod
    def is_offered(cls) -> bool:
        return sources.built_in_orders_are_used()

    def get_queryset(self) -> QuerySet[Order]:
        rows = access.orders_of(self.request.user).prefetch_related(*ORDER_ROWS)
        # Locks the row, so that no other request changes it between `If-Match` and the write.
        return rows.select_for_update() if self.action in ("update", "partial_update", "destroy") else rows

    @describe(
        "createOrder",
        "Create an order",
        {201: ApiResponse("The order.", OrderSerializer, headers=["ETag"])},
        description="Creates the order with its lines in one transaction, which makes one event. Without a `number` the"
        f" order gets one. {AMOUNTS}",
        request=OrderSerializer,
        example=EXAMPLE,
        problems={422: NOT_VALID},
    )
    @in_a_transaction
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._with_etag(super().create(request, *args, **kwargs))

    def perform_create(self, serializer: Any) -> None:
        history.log_addition(self.request, serializer.save())

    @describe(
        "getOrder",
        "Read an order",
        {
            200: ApiResponse("The order.", OrderSerializer, headers=["ETag"]),
            304: ApiResponse("The order has not changed.", headers=["ETag"]),
        },
        parameters=[IF_NONE_MATCH],
    )
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = self._with_etag(super().retrieve(request, *args, **kwargs))
        if is_known(request, response["ETag"]):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": response["ETag"]})
        return response

    @describe(
        "replaceOrder",
        "Change an order",
        {200: ApiResponse("The changed order.", OrderSerializer, headers=["ETag"])},
        description=f"Other fields that are not sent keep their values. {LINES} {AMOUNTS}",
        request=OrderSerializer,
        example=EXAMPLE,
        parameters=[IF_MATCH],
        problems={412: CHANGED_MEANWHILE, 422: NOT_VALID},
    )
    @in_a_transaction
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the order. 412 if `If-Match` names an ETag that it no longer has."""
        order = self._locked_order(request)
        serializer = self.get_serializer(order, data=request.data, partial=kwargs.get("partial", False))
        serializer.is_valid(raise_exception=True)
        # Only names of fields: the history must not show what a client sent.
        fields = self.get_serializer().get_fields()  # type: ignore[attr-defined]
        changed = [name for name, field in fields.items() if name in request.data and not field.read_only]
        history.log_change(request, serializer.save(), f"Changed {', '.join(changed) or 'nothing'}.")
        return self._with_etag(Response(serializer.data))

    @describe(
        "changeOrder",
        "Change some fields of an order",
        {200: ApiResponse("The changed order.", OrderSerializer, headers=["ETag"])},
        description=f"Fields that are not sent keep their values. {LINES} {AMOUNTS}",
        request=OrderSerializer,
        example={"payment_status": "paid"},
        parameters=[IF_MATCH],
        problems={412: CHANGED_MEANWHILE, 422: NOT_VALID},
    )
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change some fields of the order."""
        return self.update(request, *args, partial=True, **kwargs)

    @describe(
        "deleteOrder",
        "Delete an order",
        {204: ApiResponse("The order is deleted.")},
        description="Its events stay. The event `order.deleted` has its last state.",
        parameters=[IF_MATCH],
        problems={412: CHANGED_MEANWHILE},
    )
    @in_a_transaction
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        order = self._locked_order(request)
        history.log_deletion(request, order)
        order.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @describe(
        "getOrderWebhooks",
        "Read what became of an order's events",
        REPORT_RESPONSES,
        description=REPORT_DESCRIPTION,
    )
    @action(detail=True)
    def webhooks(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The order's newest events: for each subscription that the user may see, the delivery or why there is none."""
        order = self.get_object()
        events = reporting.order_events(order)
        if (stores := access.order_stores_of(request.user)) is not None:
            events = events.filter(store__in=stores)  # the order may have belonged to another store before
        return order_report(request, events)

    def _locked_order(self, request: Request) -> Order:
        order = self.get_object()
        require_match(request, etag_of(self.get_serializer(order).data))
        return order

    @staticmethod
    def _with_etag(response: Response) -> Response:
        response["ETag"] = etag_of(response.data)
        return response
