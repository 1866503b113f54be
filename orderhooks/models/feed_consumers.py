"""Feed consumers: programs that poll the feed of events, each with the sequence up to which it has acknowledged.

# Note [Place of a consumer]
Reading does not move `acknowledged`: a program that dies between reading and acting reads the same events again. It
moves by a conditional UPDATE, forward only unless a rewind is asked for, and never beyond `read_up_to`, so that no
event is passed over that the consumer was not shown. What retention deletes beyond `acknowledged` is counted in
`missed` until the consumer accepts that. Elsewhere the place is called a committed offset. Source:
https://kafka.apache.org/documentation/#design_consumerposition
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.db import public_ids
from orderhooks.models.subscriptions import Subscription

__all__ = ["LONGEST_NAME", "NAME_PATTERN", "FeedConsumer"]

LONGEST_NAME = 64
# One case only, because some databases compare names without regard to case.
NAME_PATTERN = rf"^[a-z0-9][a-z0-9._-]{{0,{LONGEST_NAME - 1}}}$"


class FeedConsumerQuerySet(models.QuerySet["FeedConsumer"]):
    def begin(self, *, user: Any, name: str, subscription: Subscription | None, after: int = 0) -> "FeedConsumer":
        """The user's consumer of this name: the one that exists, or a new one with its place at `after`."""
        values = {"subscription": subscription, "acknowledged": after, "read_up_to": after}
        found: FeedConsumer | None = self.filter(user=user, name=name).first()
        if found is not None:
            return found
        try:
            with transaction.atomic(using=self.db):
                return self.create(user=user, name=name, **values)
        except IntegrityError:
            return self.get(user=user, name=name)

    def record_read(self, *, up_to: int, now: datetime) -> int:
        """Each of them was shown its events up to this sequence."""
        return self.update(last_read_at=now, read_up_to=Greatest(F("read_up_to"), Value(up_to)))

    def acknowledge(self, after: int, *, rewind: bool, missed: int | None, now: datetime) -> int:
        """Move the place of those that have read up to `after`: forward, or with `rewind` wherever it is.

        `missed`: only of those that have missed this many events, which are accepted as lost. Returns how many moved or
        accepted.
        """
        rows = self.filter(read_up_to__gte=after)
        accepted: dict[str, Any] = {}
        if missed is not None:
            rows, accepted = rows.filter(missed=missed), {"missed": 0}
        place: Any = after if rewind else Greatest(F("acknowledged"), Value(after))
        if missed is None and not rewind:
            rows = rows.filter(acknowledged__lt=after)
        return rows.update(acknowledged=place, acknowledged_at=now, **accepted)

    def behind(self, sequence: int) -> "FeedConsumerQuerySet":
        """Those that have not acknowledged the event of this sequence."""
        return self.filter(acknowledged__lt=sequence)


class FeedConsumer(models.Model):
    """A program that polls the feed under a name, as one user of the API. See Note [Place of a consumer]."""

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.consumer_id
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        verbose_name=_("user"),
        related_name="+",
        db_index=False,  # orderhooks_feed_consumer_once begins with it
    )
    name = models.CharField(_("name"), max_length=LONGEST_NAME)
    # Whose feed it reads. Null: all events that its user may see.
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, verbose_name=_("subscription"), related_name="+", null=True
    )
    # Sequences of events. 0: none yet.
    acknowledged = models.PositiveBigIntegerField(_("acknowledged up to"), default=0)
    read_up_to = models.PositiveBigIntegerField(_("read up to"), default=0)
    # How many events were deleted before they were acknowledged, since it last accepted that.
    missed = models.PositiveBigIntegerField(_("missed"), default=0)
    last_read_at = models.DateTimeField(_("last read"), null=True)
    acknowledged_at = models.DateTimeField(_("last acknowledged"), null=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)

    objects = FeedConsumerQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("feed consumer")
        verbose_name_plural = _("feed consumers")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="orderhooks_feed_consumer_once"),
            models.CheckConstraint(condition=~Q(name=""), name="orderhooks_feed_consumer_has_name"),
            models.CheckConstraint(
                condition=Q(acknowledged__lte=F("read_up_to")), name="orderhooks_feed_consumer_has_read"
            ),
        ]

    def __str__(self) -> str:
        return self.name
