"""What the pages of the log have in common: nobody edits a record, and a list costs the same however long it is."""

from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property

from orderhooks import permissions
from orderhooks.admin.buttons import ButtonsAdmin
from orderhooks.admin.links import link, page_url
from orderhooks.admin.lookups import LastPageList
from orderhooks.admin.stores import OfStores, stores_of
from orderhooks.models import Event
from orderhooks.models.events import EventQuerySet
from orderhooks.reporting.counts import count_text

# How many rows a list counts, and how many its pages show.
BOUND = 10_000
# How many events of one order a search takes in, the newest.
MOST_FOUND = 1000


class Total(int):
    """A count that reads `10,000+` where it stands for more than the bound."""

    bound: int

    def __new__(cls, count: int, *, bound: int) -> "Total":
        total = super().__new__(cls, count)
        total.bound = bound
        return total

    def __str__(self) -> str:
        if self <= self.bound:
            return format(int(self))
        # With USE_THOUSAND_SEPARATOR Django groups what it gets, counting from its end.
        return f">{self.bound}" if settings.USE_THOUSAND_SEPARATOR else count_text(self, bound=self.bound)


class BoundedPaginator(Paginator):
    """Counts no further than it has pages for, and pages through keys, which indexes hold, not through rows.

    One query for the keys gives both: where filters are combined, finding them is what takes the time.
    """

    bound = BOUND

    @cached_property
    def keys(self) -> list[int]:
        """The first of them, and one more if there are more."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return list(rows.values_list("pk", flat=True)[: self.bound + 1])

    @cached_property
    def count(self) -> int:
        return Total(len(self.keys), bound=self.bound)

    @cached_property
    def num_pages(self) -> int:
        return -(-min(self.count, self.bound) // self.per_page) or 1

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        first = (number - 1) * self.per_page
        return Page(rows.filter(pk__in=self.keys[first : first + self.per_page]), number, self)


class BoundedChangeList(LastPageList):
    """Newest first, by an index; whatever columns the query string names."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return list(self.model_admin.get_ordering(request))


class NotEdited(admin.ModelAdmin):
    """A mixin of pages that show what nobody adds, changes or deletes there."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(NotEdited, OfStores, ButtonsAdmin):
    """A record that is looked at, with buttons and actions that each need a permission."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # the filters count by themselves
    sortable_by = ()
    list_per_page = 50

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(permissions.REDELIVER_DELIVERY)

    def has_payload_permission(self, request: HttpRequest) -> bool:
        return sees_payload(request)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        action = request.POST.get("action")
        if action in (self.actions or ()) and action not in self.get_actions(request):
            # Django would say that no action was chosen.
            raise PermissionDenied
        return super().changelist_view(request, extra_context)

    def link(self, request: HttpRequest, record: Model, text: object) -> str:
        """A link to the record's page if the user may open it, otherwise its text."""
        return link(page_url(request, type(record), "change", record.pk, site=self.admin_site), text)

    def list_url(self, model: str) -> str:
        return reverse(f"{self.admin_site.name}:orderhooks_{model}_changelist")


def sees_payload(request: HttpRequest) -> bool:
    """Whether the user may see payloads, headers and bodies, and the errors of events, which may quote an order."""
    return request.user.has_perm(permissions.VIEW_PAYLOAD)


def events_of_number(number: str) -> EventQuerySet:
    """The events of an order number, with or without a # before it."""
    bare = number.lstrip("#")
    return Event.objects.filter(order_number__in={number, bare, f"#{bare}"})


def events_found(request: HttpRequest, term: str) -> list[int]:
    """The newest events of an order number, or the one of a public id, that the user may see. Looked up once for each
    request.
    """
    known = cast("dict[str, list[int]]", request.__dict__.setdefault("_orderhooks_found", {}))
    if term not in known:
        if term.startswith("evt_"):
            events = Event.objects.filter(public_id=term)
        else:
            events = events_of_number(term).order_by("-sequence")
        events = events.of_stores(stores_of(request))
        known[term] = list(events.values_list("pk", flat=True)[:MOST_FOUND])
    return known[term]
