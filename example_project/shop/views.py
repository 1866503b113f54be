"""The shop's pages: the shelf with its order form, and an order with what the receivers made of it."""

from datetime import timedelta

from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from crm.models import CustomerOrder
from fulfilment.models import Parcel
from inventory.models import StockMove
from mailroom.models import SentMail
from orderhooks.models import Attempt, Delivery, Order
from shop import ordering
from shop.forms import OrderForm

# While something is about to happen the order's page loads itself again.
WATCHED_FOR = timedelta(seconds=10)
SHOWN = ("lines", "fulfillments__lines__line", "payments", "refunds")


def home(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST) if request.method == "POST" else OrderForm()
    if request.method == "POST" and form.is_valid():
        order = ordering.place(
            form.quantities(),
            customer_name=form.cleaned_data["customer_name"],
            customer_email=form.cleaned_data["customer_email"],
        )
        return redirect("shop:order", order.public_id)
    return render(request, "shop/home.html", {"form": form, "orders": Order.objects.all()[:8]})


def order_page(request: HttpRequest, public_id: str, refusal: str = "") -> HttpResponse:
    """`refusal` is why the customer's last request was refused."""
    order = get_object_or_404(Order.objects.prefetch_related(*SHOWN), public_id=public_id)
    deliveries = (
        Delivery.objects.filter(event__order_number=order.number, event__order_pk=str(order.pk))
        .select_related("event", "subscription")
        .prefetch_related(Prefetch("attempts", Attempt.objects.order_by("number")))
        .order_by("event__sequence", "subscription__name")
    )
    now = timezone.now()
    soon = now + WATCHED_FOR
    under_way = any(
        delivery.state == Delivery.State.SENDING
        or (delivery.state == Delivery.State.PENDING and delivery.next_attempt_at and delivery.next_attempt_at < soon)
        for delivery in deliveries
    )
    context = {
        "order": order,
        "refusal": refusal,
        "moves": [(name, name.replace("-", " ").capitalize()) for name in ordering.MOVES],
        "stock_moves": StockMove.objects.filter(order_id=public_id).order_by("sequence", "sku"),
        "parcels": Parcel.objects.filter(order_id=public_id),
        "mails": SentMail.objects.filter(order_id=public_id).order_by("sequence"),
        "customer": CustomerOrder.summaries(email=order.customer_email).get(order.customer_email),
        "deliveries": deliveries,
        "refresh": under_way or order.updated_at > now - WATCHED_FOR,
    }
    return render(request, "shop/order.html", context, status=409 if refusal else 200)


def move(request: HttpRequest, public_id: str, name: str) -> HttpResponse:
    if name not in ordering.MOVES:
        raise Http404
    if request.method != "POST":  # someone came back to the address of a refusal
        return redirect("shop:order", public_id)
    try:
        ordering.move(public_id, name)
    except Order.DoesNotExist:
        raise Http404 from None
    except ordering.IllegalMoveError as error:
        return order_page(request, public_id, refusal=str(error))
    return redirect("shop:order", public_id)
