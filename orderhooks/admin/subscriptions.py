"""Subscriptions: who hears what, how it has been going, and the secret, which is shown once when it is made."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import EMPTY_VALUES
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import method_decorator
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from orderhooks import publishing, signing, topics
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.models.fields import seal
from orderhooks.models.subscriptions import OVERLAP, SubscriptionQuerySet, validate_topics
from orderhooks.secrets import HIDDEN, Sealed

State = Subscription.State
HOUR = timedelta(hours=1)
OVERLAP_HOURS = round(OVERLAP / HOUR)
EDITABLE = [
    "name",
    "store",
    "url",
    "topics",
    "headers",
    "signature",
    "ordered",
    "max_in_flight",
    "max_per_second",
    "contact_email",
    "state",
]


class TopicsField(forms.CharField):
    """A list of patterns, written one per line or with commas between."""

    widget = forms.Textarea(attrs={"rows": 6, "cols": 40})
    empty_values = [*EMPTY_VALUES]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        words = str(value or "").replace(",", "\n").split()
        return list(dict.fromkeys(words))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return (initial or []) != self.to_python(data)


class HeadersField(forms.CharField):
    """Headers, one `Name: value` per line. Values that are there already are shown, and kept, as `(hidden)`."""

    widget = forms.Textarea(attrs={"rows": 4, "cols": 80, "autocomplete": "off", "spellcheck": "false"})
    former: dict[str, Sealed] = {}

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}: {HIDDEN}" for name in value) if isinstance(value, dict) else value

    @sensitive_variables()
    def clean(self, value: Any) -> dict[str, Sealed]:
        headers: dict[str, str] = {}
        for number, line in enumerate((value or "").splitlines(), start=1):
            name, colon, text = line.partition(":")
            if not line.strip():
                continue
            if not colon:
                raise ValidationError(_("Line %d is no header. Write it as Name: value.") % number, code="headers")
            if name.strip() in headers:
                raise ValidationError(_("The header %s is given twice. Keep one.") % name.strip(), code="headers")
            headers[name.strip()] = text.strip()
        return seal(headers, former=self.former)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.prepare_value(initial or {}).split() != (data or "").split()


@dataclass(frozen=True, slots=True)
class Shown:
    """A new secret on the page that shows it."""

    subscription: Subscription
    secret: str = field(repr=False)
    overlap_hours: int = 0

    @property
    def public_key(self) -> str:
        return signing.public_key(self.secret)


class SubscriptionForm(forms.ModelForm):
    topics = TopicsField(
        label=_("Topics"),
        validators=[validate_topics],
        error_messages={"required": _("Name at least one topic, such as order.paid, or * for all.")},
    )

    headers = HeadersField(
        label=_("Headers"),
        required=False,
        help_text=_("Sent with each request, one Name: value per line, such as Authorization: Bearer …. Encrypted."),
    )

    class Meta:
        model = Subscription
        fields = EDITABLE
        widgets = {"url": forms.TextInput(attrs={"size": 80})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "topics" in self.fields:
            # Read now, not at import: the setting TOPICS adds to the catalogue.
            self.fields["topics"].help_text = format_lazy(
                "{} {}", _("One per line: * (all), order.* (a family) or any of"), ", ".join(topics.catalogue())
            )
        if "headers" in self.fields:
            self.fields["headers"].former = self.instance.headers  # type: ignore[attr-defined]
        if "state" in self.fields and self.instance.state != State.DISABLED:
            # Only orderhooks disables.
            self.fields["state"].choices = [  # type: ignore[attr-defined]
                (state.value, state.label) for state in (State.ACTIVE, State.PAUSED)
            ]


@admin.register(Subscription)
class SubscriptionAdmin(admin.ModelAdmin):
    form = SubscriptionForm
    list_display = ["name", "url", "topic_list", "state", "failing_since", "last_success_at"]
    list_filter = ["state"]
    search_fields = ["name", "url", "public_id__exact"]
    fields = (*EDITABLE,)
    readonly_fields = [
        "public_id",
        "state_reason",
        "failing_since",
        "consecutive_failures",
        "last_success_at",
        "cooling_until",
        "signing_secrets",
        "deliveries",
        "created_at",
        "updated_at",
    ]
    actions = ["pause", "resume", "resume_and_skip", "rotate_secret", "replace_secret", "revoke_former_secrets"]

    def get_fields(self, request: HttpRequest, obj: Subscription | None = None) -> list[Any]:
        return [*self.fields, *(self.readonly_fields if obj else ())]

    @admin.display(description=_("topics"))
    def topic_list(self, subscription: Subscription) -> str:
        return ", ".join(map(str, subscription.topics))

    @admin.display(description=_("deliveries"))
    def deliveries(self, subscription: Subscription) -> SafeString:
        page = reverse(f"{self.admin_site.name}:orderhooks_delivery_changelist")
        query = urlencode({"subscription__id__exact": subscription.pk})
        return format_html('<a href="{}?{}">{}</a>', page, query, _("What was sent to it"))

    @admin.display(description=_("signing secrets"))
    def signing_secrets(self, subscription: Subscription) -> SafeString:
        rows = []
        for secret in subscription.secrets.live(now=timezone.now()).order_by("-pk"):
            made = _("made %s") % _moment(secret.created_at)
            ends = _("signs until %s") % _moment(secret.expires_at) if secret.expires_at else ""
            rows.append((made, ends, secret.public_key))
        return format_html_join(SafeString("<br>"), "{} {} {}", rows)

    @method_decorator(sensitive_post_parameters("headers"))
    def changeform_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(*args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: bool) -> None:
        # The secret waits on the object for the page that shows it; the row holds it encrypted.
        with transaction.atomic():
            if not change:
                super().save_model(request, obj, form, change)
                obj._shown = Shown(obj, obj.add_secret())  # type: ignore[attr-defined]
                return
            # No more than what was edited: workers write the health of the same row meanwhile.
            obj.save(update_fields={*form.changed_data, "updated_at"} - {"state"})
            if "signature" in form.changed_data and (secret := obj.fit_secret(now=timezone.now())):
                obj._shown = Shown(obj, secret, OVERLAP_HOURS)  # type: ignore[attr-defined]
            if "state" in form.changed_data:
                change_state = publishing.resume if obj.state == State.ACTIVE else publishing.pause
                change_state(Subscription.objects.filter(pk=obj.pk))

    def response_add(
        self, request: HttpRequest, obj: Subscription, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_first(request, obj, super().response_add(request, obj, post_url_continue))

    def response_change(self, request: HttpRequest, obj: Subscription) -> HttpResponse:
        return self._show_first(request, obj, super().response_change(request, obj))

    def _show_first(self, request: HttpRequest, obj: Subscription, response: HttpResponse) -> HttpResponse:
        shown = getattr(obj, "_shown", None)
        return self._show(request, [shown], onward=response.headers.get("location", "")) if shown else response

    def _show(self, request: HttpRequest, shown: Sequence[Shown], *, onward: str) -> HttpResponse:
        """The page with new secrets. An answer, not a message: messages wait in cookies or in the session's table."""
        context = {
            **self.admin_site.each_context(request),
            "title": ngettext("New signing secret", "New signing secrets", len(shown)),
            "opts": self.opts,
            "shown": shown,
            "onward": onward or ".",
        }
        response = TemplateResponse(request, "admin/orderhooks/subscription/secret.html", context)
        add_never_cache_headers(response)
        return response

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, Any]:
        """What goes with a subscription, counted: its deliveries may be a million, and are deleted with it."""
        chosen = [one.pk for one in objs]
        counts = {
            str(model._meta.verbose_name_plural): rows.count()
            for model, rows in (
                (Subscription, Subscription.objects.filter(pk__in=chosen)),
                (Delivery, Delivery.objects.filter(subscription__in=chosen)),
                (Attempt, Attempt.objects.filter(delivery__subscription__in=chosen)),
            )
        }
        missing = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return [str(one) for one in objs], counts, missing, []

    @admin.action(description=_("Pause the selected subscriptions"), permissions=["change"])
    def pause(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> None:
        paused = publishing.pause(queryset.filter(state=State.ACTIVE))
        self.message_user(
            request,
            ngettext(
                "%(count)d subscription is paused. Its deliveries are held until you resume it.",
                "%(count)d subscriptions are paused. Their deliveries are held until you resume them.",
                paused,
            )
            % {"count": paused},
        )

    @admin.action(
        description=_("Resume the selected subscriptions; skip what is held for them"), permissions=["change"]
    )
    def resume_and_skip(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> None:
        resumed = publishing.resume(queryset, skip_before=timezone.now()).subscriptions
        self.message_user(
            request,
            ngettext(
                "%(count)d subscription is active again. Deliveries that were held are skipped.",
                "%(count)d subscriptions are active again. Deliveries that were held are skipped.",
                resumed,
            )
            % {"count": resumed},
        )

    @admin.action(description=_("Resume the selected subscriptions"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> None:
        resumed = publishing.resume(queryset).subscriptions
        self.message_user(
            request,
            ngettext(
                "%(count)d subscription is active again. Deliveries that were held are sent now.",
                "%(count)d subscriptions are active again. Deliveries that were held are sent now.",
                resumed,
            )
            % {"count": resumed},
        )

    @admin.action(
        description=_("New secret; the former one signs beside it for %d hours") % OVERLAP_HOURS,
        permissions=["change"],
    )
    def rotate_secret(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> HttpResponse:
        return self._rotate(request, queryset, OVERLAP)

    @admin.action(description=_("New secret; revoke the former one now"), permissions=["change"])
    def replace_secret(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> HttpResponse:
        return self._rotate(request, queryset, timedelta(0))

    def _rotate(self, request: HttpRequest, queryset: SubscriptionQuerySet, overlap: timedelta) -> HttpResponse:
        now = timezone.now()
        with transaction.atomic():
            shown = [
                Shown(subscription, subscription.rotate_secret(now=now, overlap=overlap), round(overlap / HOUR))
                for subscription in queryset
            ]
        for one in shown:
            self.log_change(request, one.subscription, str(_("Made a new signing secret.")))
        return self._show(request, shown, onward=request.get_full_path())

    @admin.action(description=_("Revoke former secrets now"), permissions=["change"])
    def revoke_former_secrets(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> None:
        now = timezone.now()
        revoked = sum(subscription.revoke_former_secrets(now=now) for subscription in queryset)
        self.message_user(
            request,
            ngettext(
                "%(count)d former secret is revoked: the newest one alone signs now.",
                "%(count)d former secrets are revoked: the newest ones alone sign now.",
                revoked,
            )
            % {"count": revoked},
        )


def _moment(moment: datetime) -> str:
    return localize(timezone.localtime(moment) if settings.USE_TZ else moment)
