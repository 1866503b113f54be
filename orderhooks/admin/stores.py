"""Stores in the admin: each page has only what belongs to the stores that its user may see.

`orderhooks.stores` decides which stores those are. A list or the dashboard can be narrowed to one of them.
"""

from collections.abc import Collection
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks import logs, sources
from orderhooks.db.distinct_texts import distinct_texts
from orderhooks.models import Event, Subscription
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.stores import manages, order_stores_of

__all__ = [
    "OfStores",
    "StoreFilter",
    "StoreForm",
    "chosen_stores",
    "has_several_stores",
    "is_of_stores",
    "known_stores",
    "seen_subscriptions",
    "sees_alarms",
    "store_choice",
    "stores_of",
    "subscription_keys",
]

logger = logs.get_logger(__name__)

# Of the stores that a list or the dashboard offers.
MOST_OFFERED = 100
PARAMETER = "store"


def stores_of(request: HttpRequest) -> frozenset[str] | None:
    """The stores that the user may see. None: all. The setting's function is called once for each request."""
    known = request.__dict__
    if "_orderhooks_stores" not in known:
        known["_orderhooks_stores"] = order_stores_of(request.user)
    stores: frozenset[str] | None = known["_orderhooks_stores"]
    return stores


def sees_alarms(request: HttpRequest) -> bool:
    """Whether the user may see operational subscriptions, which show the endpoints of all."""
    return manages(request.user)


def seen_subscriptions(request: HttpRequest) -> SubscriptionQuerySet:
    """The subscriptions that the user may see."""
    return Subscription.objects.of_stores(stores_of(request), operational=sees_alarms(request))


def subscription_keys(request: HttpRequest) -> list[int] | None:
    """The primary keys of the subscriptions that the user may see. None: all. Looked up once for each request."""
    known = request.__dict__
    if "_orderhooks_subscription_keys" not in known:
        limited = stores_of(request) is not None or (
            not sees_alarms(request) and Subscription.objects.filter(operational=True).exists()
        )
        seen = seen_subscriptions(request).values_list("pk", flat=True)
        known["_orderhooks_subscription_keys"] = list(seen) if limited else None
    keys: list[int] | None = known["_orderhooks_subscription_keys"]
    return keys


def known_stores(request: HttpRequest) -> list[str]:
    """The stores to choose from: the user's own, or those of events and subscriptions. Found once for each request."""
    known = request.__dict__
    if "_orderhooks_known_stores" not in known:
        stores = stores_of(request)
        if stores is None:
            subscribed = Subscription.objects.exclude(store="").order_by("store").values_list("store", flat=True)
            stores = frozenset(subscribed.distinct()[:MOST_OFFERED])
            stores |= frozenset(distinct_texts(Event, "store", at_most=MOST_OFFERED, using=Event.objects.db))
        known["_orderhooks_known_stores"] = sorted(stores)[:MOST_OFFERED]
    found: list[str] = known["_orderhooks_known_stores"]
    return found


def has_several_stores(request: HttpRequest) -> bool:
    """Whether the user sees more than one store."""
    return len(known_stores(request)) > 1


def chosen_stores(request: HttpRequest) -> frozenset[str] | None:
    """The stores that the user may see, or of these the one that the URL names. None: all."""
    stores, chosen = stores_of(request), request.GET.get(PARAMETER, "").replace("\0", "")
    if not chosen:
        return stores
    return frozenset([chosen]) if stores is None else stores & {chosen}


def is_of_stores(order: Any, stores: Collection[str] | None) -> bool:
    """Whether the order is of one of the stores; None for all. False, with an error in the log, if it can't be known:
    its source is the store's own code.
    """
    if stores is None:
        return True
    try:
        source = sources.order_source_of(type(order))
        return source is not None and source.store(order) in stores
    except Exception:
        logger.exception("the store of an order is not known, so a user of some stores does not see the order")
        return False


class OfStores(admin.ModelAdmin):
    """A mixin whose pages, lists and actions have only the rows of the user's stores. Others are as if not there."""

    # The field with the store, from the model on.
    store_field = "store"
    # The field with the subscription, if the rows have one.
    subscription_field = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        stores = stores_of(request)
        if stores is not None:
            rows = rows.filter(**{f"{self.store_field}__in": stores})
        keys = subscription_keys(request) if self.subscription_field else None
        return rows if keys is None else rows.filter(**{f"{self.subscription_field}__in": keys})

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)
        if issubclass(form, StoreForm):
            form.stores = stores_of(request)
        return form

    def get_list_filter(self, request: HttpRequest) -> Any:
        """The filters, without the one of stores if the user sees only one."""
        filters = super().get_list_filter(request)
        if has_several_stores(request):
            return filters
        return [one for one in filters if getattr(one, "parameter_name", "") != PARAMETER]


class StoreFilter(admin.SimpleListFilter):
    """Narrows a list of an OfStores to one store."""

    title = gettext_lazy("store")
    parameter_name = PARAMETER

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.field: str = model_admin.store_field

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(store, store) for store in known_stores(request)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        return queryset.none() if "\0" in value else queryset.filter(**{self.field: value})


class StoreForm(forms.ModelForm):
    """A mixin of forms whose row belongs to a store: users who are limited choose among theirs, and must choose one."""

    # The stores that the user may choose. None: any, and none. Set for each request.
    stores: Collection[str] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.stores is None or "store" not in self.fields:
            return
        if self.instance._state.adding and len(self.stores) == 1:
            self.initial.setdefault("store", *self.stores)
        self.fields["store"] = store_choice(self.fields["store"].label, self.stores)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.stores is not None and "store" not in self.errors:
            # Also where a store's own page leaves the field out.
            store = cleaned.get("store", self.instance.store)
            if store not in self.stores:
                error = ValidationError(remedy(self.stores), code="store")
                self.add_error("store" if "store" in self.fields else None, error)
        return cleaned


def store_choice(label: Any, stores: Collection[str]) -> forms.ChoiceField:
    """The field in which a user who is limited to these stores chooses one."""
    return forms.ChoiceField(
        label=label,
        choices=[("", "---------"), *((store, store) for store in sorted(stores))],
        help_text=_("You see only what belongs to your stores.") if stores else remedy(stores),
        error_messages=dict.fromkeys(("required", "invalid_choice"), remedy(stores)),
    )


def remedy(stores: Collection[str]) -> str:
    """What to do about a store that the user may not choose."""
    if not stores:
        return _(
            "You may not choose any store. Have the function of the setting STORES_FOR_USER return stores for you."
        )
    return _("Choose one of your stores: %(stores)s.") % {"stores": ", ".join(sorted(stores))}
