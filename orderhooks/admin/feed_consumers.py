"""Feed consumers: the programs that poll the feed of events, and how far behind each is."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from orderhooks import stores
from orderhooks.admin.links import link, page_url
from orderhooks.admin.read_only import ReadOnlyAdmin
from orderhooks.admin.stores import OfStores, sees_alarms, stores_of, subscription_keys
from orderhooks.models import FeedConsumer
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import relative_text, span_text
from orderhooks.reporting.feed_lag import feed_lags


@admin.register(FeedConsumer)
class FeedConsumerAdmin(ReadOnlyAdmin):
    list_display = ["name", "user", "feed", "behind", "missed_text", "last_read"]
    list_select_related = ["user", "subscription"]
    ordering = ["-id"]
    # Each row counts the events that wait.
    list_per_page = 20
    search_fields = ["name"]
    fields = (
        "name",
        "user",
        "feed_link",
        "behind",
        "missed_text",
        "acknowledged",
        "read_up_to",
        "last_read",
        "acknowledged_at",
        "created_at",
        "public_id",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Its stores are those of its subscription, and its user may see it too.
        rows: QuerySet[Any] = super(OfStores, self).get_queryset(request)
        if stores_of(request) is None:
            # Many have no subscription.
            return rows if sees_alarms(request) else rows.exclude(subscription__operational=True)
        return rows.filter(Q(subscription__in=subscription_keys(request)) | Q(user=request.user.pk))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        consumer = super().get_object(request, object_id, from_field)
        if consumer is not None:
            # A field does not get the request, and so not the user.
            consumer._feed_link = self._feed_link(request, consumer)
        return consumer

    def _feed_link(self, request: HttpRequest, consumer: FeedConsumer) -> Any:
        subscription = consumer.subscription
        if subscription is None:
            return self.feed(consumer)
        url = page_url(request, type(subscription), "change", subscription.pk, site=self.admin_site)
        return link(url, subscription.name)

    @admin.display(description=gettext_lazy("feed"))
    def feed(self, consumer: FeedConsumer) -> str:
        return consumer.subscription.name if consumer.subscription else _("all events that the user may see")

    @admin.display(description=gettext_lazy("feed"))
    def feed_link(self, consumer: Any) -> Any:
        return consumer._feed_link

    @admin.display(description=gettext_lazy("behind"))
    def behind(self, consumer: FeedConsumer) -> str:
        lag = feed_lags([consumer], stores.feeds_of([consumer]))[consumer.pk]
        if lag is None:
            return _("not known: the function of STORES_FOR_USER raises an error")
        if lag.since is None:
            return _("nothing")
        text = ngettext("%(count)s event, %(span)s", "%(count)s events, %(span)s", lag.events)
        count = count_text(lag.events, is_exact=lag.is_exact)
        return text % {"count": count, "span": span_text(timezone.now() - lag.since)}

    @admin.display(description=gettext_lazy("missed"))
    def missed_text(self, consumer: FeedConsumer) -> str:
        if not consumer.missed:
            return _("nothing")
        text = ngettext(
            "%(count)s event, deleted before it was acknowledged",
            "%(count)s events, deleted before they were acknowledged",
            consumer.missed,
        )
        return text % {"count": count_text(consumer.missed)}

    @admin.display(description=gettext_lazy("last read"))
    def last_read(self, consumer: FeedConsumer) -> str:
        return relative_text(consumer.last_read_at, now=timezone.now())
