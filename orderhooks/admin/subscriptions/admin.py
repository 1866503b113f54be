"""The list of subscriptions, and the page of one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from orderhooks import operations, permissions, reporting, tasks
from orderhooks.admin.health import HEALTH_COLUMNS, HealthColumns
from orderhooks.admin.jobs import JOB_FIELDS, JobsField
from orderhooks.admin.links import link, page_url
from orderhooks.admin.stores import OfStores, StoreFilter, stores_of
from orderhooks.admin.subscriptions.action_forms import OVERLAP_HOURS
from orderhooks.admin.subscriptions.actions import ACTION_BUTTONS, ActionsAdmin
from orderhooks.admin.subscriptions.banners import (
    COUNT_UP_TO,
    Banner,
    banner,
    certificate_banner,
    unsent_banner,
    version_banner,
)
from orderhooks.admin.subscriptions.for_readers import ReadersAdmin, for_readers
from orderhooks.admin.subscriptions.forms import SubscriptionForm
from orderhooks.admin.subscriptions.login_forms import LOGIN_FIELDS, SECRET_FIELDS
from orderhooks.admin.subscriptions.owners import OwnerOfStores, may_see_users
from orderhooks.admin.subscriptions.secrets import SECRET_BUTTONS, SecretsAdmin, Shown
from orderhooks.admin.subscriptions.trials import TrialsAdmin
from orderhooks.admin.subscriptions.versions import VERSION_BUTTONS, VersionsAdmin
from orderhooks.db import DatabaseClock
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.models.compatibility import ORDERS_ONLY
from orderhooks.reporting.objectives import Objective, objective_text, objectives
from orderhooks.stores import manages

# What workers write, and nobody edits.
RECORD = (
    "public_id",
    "state",
    "failing_since",
    "consecutive_failures",
    "last_success_at",
    "last_failure",
    "circuit_open_until",
    "created_at",
    "updated_at",
)

SHAPE_FIELDS = ("changed_fields", "filter", "projection", "api_version", "format")
PACE_FIELDS = ("max_in_flight", "max_per_second", "consent")


@admin.register(Subscription)
class SubscriptionAdmin(
    OfStores, HealthColumns, JobsField, ReadersAdmin, ActionsAdmin, SecretsAdmin, TrialsAdmin, VersionsAdmin
):
    form = SubscriptionForm
    list_display = ["name", *HEALTH_COLUMNS, "url", "topic_list"]
    list_filter = ["state", "operational", StoreFilter]
    search_fields = ["name", "url", "public_id__exact"]
    actions = ["pause", "resume", "rotate_secret", "revoke_former_secrets"]
    raw_id_fields = ["owner"]
    buttons = (*ACTION_BUTTONS, *SECRET_BUTTONS, *VERSION_BUTTONS)
    readonly_fields = [
        "status_banner",
        "what_to_do",
        "more",
        "deliveries",
        *JOB_FIELDS,
        "try_button",
        "signing_secrets",
        "consent",
        "certificate",
        "objective_report",
        *RECORD,
    ]
    fieldsets = [
        (_("How it is doing"), {"fields": ["status_banner", "what_to_do", "deliveries", *JOB_FIELDS, "more"]}),
        (_("Who and where"), {"fields": ["name", "operational", "store", "owner", "url"]}),
        (_("What"), {"fields": ["topics", *SHAPE_FIELDS, "try_button"]}),
        (_("How it is signed"), {"fields": ["signature", "secret", "signing_secrets", "headers"]}),
        (_("How it logs in"), {"fields": [*LOGIN_FIELDS, "certificate"]}),
        (
            _("Limits"),
            {"fields": ["ordered", "update_interval_seconds", *PACE_FIELDS, "timeout_seconds"]},
        ),
        (_("Objective"), {"fields": ["objective_report", "objective_seconds", "objective_share"]}),
        (_("Mail"), {"fields": ["contact_email", "mail_failing", "mail_disabled", "mail_recovered"]}),
        (_("Record"), {"fields": RECORD}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        """Operational ones show the endpoints of all: only users who may manage all subscriptions have them."""
        rows = super().get_queryset(request)
        return rows if manages(request.user) else rows.filter(operational=False)

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        return filters if manages(request.user) else [one for one in filters if one != "operational"]

    def get_readonly_fields(self, request: HttpRequest, obj: Subscription | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else [*fields, "operational"]

    def get_fieldsets(self, request: HttpRequest, obj: Subscription | None = None) -> Any:
        catalogue = reverse(f"{self.admin_site.name}:orderhooks_subscription_topics")
        link = format_html('<a href="{}">{}</a>', catalogue, _("What each topic brings"))
        shown = []
        for title, options in self.fieldsets:
            # One that is being added has no health yet; a secret can be given only then.
            hidden = [name for name in self.readonly_fields if name != "try_button"] if obj is None else ["secret"]
            if not self.may_try(request):
                hidden = [*hidden, "try_button"]
            if not manages(request.user):
                hidden = [*hidden, "operational"]
            if obj is not None and obj.operational:
                hidden = [*hidden, *ORDERS_ONLY, "try_button", "backfills"]
            if not may_see_users(request):
                hidden = [*hidden, "owner"]
            names = [name for name in options["fields"] if name not in hidden]
            if obj is not None and not obj.asks_consent:
                names = [name for name in names if name != "consent"]
            described = {"description": link} if "topics" in names else {}
            is_read = obj is not None and not self.has_change_permission(request, obj)
            if names:
                shown.append((title, {"fields": for_readers(names) if is_read else names, **described}))
        return shown

    def get_form(
        self, request: HttpRequest, obj: Subscription | None = None, change: bool = False, **kwargs: Any
    ) -> type[Any]:
        form: type[Any] = super().get_form(request, obj, change, **kwargs)
        stores = stores_of(request)
        if stores is not None and "owner" in form.base_fields:
            former = None if obj is None else obj.owner_id
            form.base_fields["owner"].validators = [OwnerOfStores(stores, former)]
        return form

    @admin.display(description=_("state"))
    def status_banner(self, subscription: Any) -> SafeString:
        now = timezone.now()
        outdated = version_banner(subscription, now=now, url=self.versions_url(subscription))
        missing = reporting.worker_problems(tasks.look_at_worker(), now=now)
        stores = stores_of(subscription._request)
        state = banner(
            subscription,
            now=now,
            held=lambda: operations.held([subscription], most=COUNT_UP_TO + 1, stores=stores),
            objective=_objective_of(subscription, now=now),
        )
        found = certificate_banner(subscription, now=now) + unsent_banner(subscription, now=now) + state.draw()
        if missing:
            # That no worker is running comes first.
            return Banner("stopped", missing[0], " ".join(missing[1:]), "").draw() + found + outdated
        return found + outdated

    @admin.display(description=_("consent of the endpoint"))
    def consent(self, subscription: Subscription) -> str:
        if subscription.lacks_consent:
            return gettext("It is asked by OPTIONS before the next request.")
        rate = subscription.max_per_minute
        allowed = gettext("Requests from %s are allowed.") % subscription.request_origin
        if rate is None:
            return allowed
        limit = ngettext("At most %d request a minute.", "At most %d requests a minute.", rate)
        return f"{allowed} {limit % rate}"

    @admin.display(description=_("topics"))
    def topic_list(self, subscription: Subscription) -> str:
        return ", ".join(map(str, subscription.topics))

    @admin.display(description=_("the certificate"))
    def certificate(self, subscription: Subscription) -> str:
        return reporting.certificate_text(subscription, now=timezone.now()) or "-"

    @admin.display(description=_("how it does"))
    def objective_report(self, subscription: Subscription) -> str:
        found = _objective_of(subscription, now=timezone.now())
        return objective_text(found) if found else "-"

    @admin.display(description=_("deliveries"))
    def deliveries(self, subscription: Any) -> SafeString | str:
        query = {"subscription__id__exact": subscription.pk}
        url = page_url(subscription._request, Delivery, "changelist", site=self.admin_site, **query)
        return link(url, _("What was sent to it")) if url else "-"

    @method_decorator(sensitive_post_parameters("headers", "secret", *SECRET_FIELDS))
    def changeform_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(*args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: bool) -> None:
        # The secret waits on the object for the page that shows it; the row holds it encrypted.
        with transaction.atomic(using=Subscription.objects.db):
            if not change:
                obj.created_at = DatabaseClock().now()  # the clock of the events' times
                obj.given_secret = form.cleaned_data.get("secret", "")
                is_given = bool(obj.given_secret)
                super().save_model(request, obj, form, change)
                obj._shown = Shown(obj, obj.new_secret, is_given=is_given)  # type: ignore[attr-defined]
                return
            # No more than what was edited: workers write the health of the same row meanwhile.
            obj.save(update_fields={*form.changed_data, "updated_at"})
            operations.try_again(obj, form.changed_data)
            self._report_left_behind(request, obj, form.left_behind)
            if "signature" in form.changed_data and (secret := obj.fit_secret(now=timezone.now())):
                obj._shown = Shown(obj, secret, OVERLAP_HOURS)  # type: ignore[attr-defined]

    def _report_left_behind(self, request: HttpRequest, obj: Subscription, names: Sequence[str]) -> None:
        if not names:
            return
        count = len(names)
        message = ngettext(
            "The value of %d header was dropped: the URL has another host.",
            "The values of %d headers were dropped: the URL has another host.",
            count,
        )
        self.log_change(request, obj, message % count)
        shown = ngettext(
            "The URL has another host. The value of this header was given for the former one and was dropped: %s."
            " Type it again if the new host should get it.",
            "The URL has another host. The values of these headers were given for the former one and were dropped: %s."
            " Type them again if the new host should get them.",
            count,
        )
        self.message_user(request, shown % ", ".join(names), messages.WARNING)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """What was changed, from what to what; of headers, logins and secrets that they were, and no more."""
        if add or not form.changed_data:
            return super().construct_change_message(request, form, formsets, add)
        return " ".join(_change_text(form, name) for name in form.changed_data)

    def response_add(
        self, request: HttpRequest, obj: Subscription, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_first(request, obj, super().response_add(request, obj, post_url_continue))

    def response_change(self, request: HttpRequest, obj: Subscription) -> HttpResponse:
        return self._show_first(request, obj, super().response_change(request, obj))

    def _show_first(self, request: HttpRequest, obj: Subscription, response: HttpResponse) -> HttpResponse:
        shown = getattr(obj, "_shown", None)
        return self.show_secrets(request, [shown], onward=response.headers.get("location", "")) if shown else response

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, Any]:
        """What goes with a subscription, counted: its deliveries may be a million, and are deleted with it.

        Without the deliveries that the user may not see.
        """
        chosen = [one.pk for one in objs]
        rows: list[QuerySet[Any]] = [Subscription.objects.filter(pk__in=chosen)]
        if request.user.has_perm(permissions.VIEW_DELIVERY):
            deliveries = Delivery.objects.filter(subscription__in=chosen).about_stores(stores_of(request))
            rows += [deliveries, Attempt.objects.filter(delivery__in=deliveries)]
        counts = {str(one.model._meta.verbose_name_plural): one.count() for one in rows}
        missing = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return [str(one) for one in objs], counts, missing, []


def _objective_of(subscription: Any, *, now: datetime) -> Objective | None:
    """Its objective and how it does, looked up once for a page; None without one."""
    if not hasattr(subscription, "_page_objective"):
        # As it is stored: after an error of the form the instance holds what was typed.
        stored = Subscription.objects.filter(pk=subscription.pk)
        subscription._page_objective = objectives(stored, now=now).get(subscription.pk)
    found: Objective | None = subscription._page_objective
    return found


# A URL may be as long as a history entry is read.
SHOWN_CHARACTERS = 300
NEVER_SHOWN = frozenset({"headers", "authentication", "client_certificate"})


def _change_text(form: Any, name: str) -> str:
    label = form.fields[name].label or name
    if name in NEVER_SHOWN or "secret" in name:
        return gettext("%(field)s changed.") % {"field": label}
    shown = [_shown(form.fields[name], value) for value in (form[name].initial, form.cleaned_data.get(name))]
    return gettext("%(field)s: %(old)s → %(new)s.") % {"field": label, "old": shown[0], "new": shown[1]}


def _shown(field: Any, value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    value = dict(getattr(field, "choices", ())).get(value, value) if isinstance(value, str) else value
    text = "-" if value in (None, "") else " ".join(str(value).split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
