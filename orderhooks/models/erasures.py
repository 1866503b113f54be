"""Erasures: which orders' personal data was erased, when, and at whose request; none of what was erased.

`erasing` does the work.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.db import public_ids
from orderhooks.db.indexes import PartialIndex
from orderhooks.models.events import IDENTIFIER_LENGTH

__all__ = ["ErasedOrder", "Erasure"]


@dataclass(frozen=True, slots=True)
class ErasedOrder:
    """An order whose personal data is erased, by what identifies it in its events."""

    source: str
    order_pk: str
    number: str
    store: str


class ErasureQuerySet(models.QuerySet["Erasure"]):
    def running(self) -> "ErasureQuerySet":
        """Those that have not finished, oldest first."""
        return self.filter(state=Erasure.State.RUNNING).order_by("id")


class Erasure(models.Model):
    """The personal data of some orders, erased order by order in small transactions.

    # Note [Erasures]
    Each order goes through its events, their deliveries and the attempts of these by primary key; the keys reached are
    its cursors. The transaction that moves them also erases, so that an erasure that was killed goes on where it was.
    It holds this row locked, so that two processes erase nothing twice. The transaction that finds nothing left of an
    order publishes `order.redacted` and moves on to the next order.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        FINISHED = "finished", _("finished")

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.erasure_id
    )
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.RUNNING)
    # The store of all of its orders. Blank: they are of several stores, or of none.
    store = models.CharField(_("store"), max_length=IDENTIFIER_LENGTH, blank=True, db_default="")
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True)
    # The fields of an ErasedOrder each.
    orders = models.JSONField(_("orders"), default=list)
    # A keyed digest of what was asked for, so that who asks again resumes it. Blank once it has finished.
    request_digest = models.CharField(max_length=64, blank=True)
    # How many of the orders are done, and how far the next one is.
    orders_done = models.PositiveIntegerField(_("orders done"), default=0)
    event_cursor = models.BigIntegerField(default=0)
    delivery_cursor = models.BigIntegerField(default=0)
    attempt_cursor = models.BigIntegerField(default=0)
    # The paths of the next order's payload at which something was erased.
    paths = models.JSONField(default=list)
    # How many rows were gone through.
    events = models.PositiveBigIntegerField(_("events"), default=0)
    deliveries = models.PositiveBigIntegerField(_("deliveries"), default=0)
    attempts = models.PositiveBigIntegerField(_("attempts"), default=0)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    objects = ErasureQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures of personal data")
        ordering = ["-id"]
        permissions = [("erase_personal_data", _("Can erase the personal data of orders"))]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["running", "finished"]), name="orderhooks_erasure_state"),
            models.CheckConstraint(
                condition=Q(state="running", finished_at__isnull=True)
                | Q(state="finished", finished_at__isnull=False, request_digest=""),
                name="orderhooks_erasure_finished",
            ),
        ]
        indexes = [
            # Each pump's search for running erasures, and nothing else.
            PartialIndex(fields=["id"], condition=Q(state="running"), name="orderhooks_erasure_running"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def is_running(self) -> bool:
        return self.state == self.State.RUNNING

    @property
    def next_order(self) -> ErasedOrder | None:
        """The order that is to be gone on with. None if all are done."""
        rest: list[Any] = self.orders[self.orders_done : self.orders_done + 1]
        return ErasedOrder(**rest[0]) if rest else None

    def share_done(self) -> float:
        """How many of its orders are done, from 0 to 1."""
        return self.orders_done / len(self.orders) if self.orders else 1.0

    def set_orders(self, orders: Iterable[ErasedOrder]) -> None:
        chosen = list(orders)
        stores = {order.store for order in chosen}
        self.orders = [asdict(order) for order in chosen]
        self.store = stores.pop() if len(stores) == 1 else ""

    def end_order(self) -> None:
        """Move on to the next order. Does not save."""
        self.orders_done += 1
        self.event_cursor = self.delivery_cursor = self.attempt_cursor = 0
        self.paths = []
        if self.next_order is None:
            self.state, self.finished_at, self.request_digest = self.State.FINISHED, timezone.now(), ""
