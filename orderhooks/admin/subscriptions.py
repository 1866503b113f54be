"""Subscriptions: who hears what, how it has been going, and the secret, which is shown once after adding."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.validators import EMPTY_VALUES
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from orderhooks import publishing, topics
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.models.subscriptions import SubscriptionQuerySet, validate_topics

State = Subscription.State


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


class SubscriptionForm(forms.ModelForm):
    topics = TopicsField(
        label=_("topics"),
        validators=[validate_topics],
        error_messages={"required": _("Name at least one topic, such as order.paid, or * for all.")},
    )

    class Meta:
        model = Subscription
        fields = ["name", "store", "url", "topics", "state"]
        widgets = {"url": forms.TextInput(attrs={"size": 80})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "topics" in self.fields:
            # Read now, not at import: the setting TOPICS adds to the catalogue.
            self.fields["topics"].help_text = format_lazy(
                "{} {}", _("One per line: * (all), order.* (a family) or any of"), ", ".join(topics.catalogue())
            )
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
    fields = ["name", "store", "url", "topics", "state"]
    readonly_fields = [
        "public_id",
        "state_reason",
        "failing_since",
        "consecutive_failures",
        "last_success_at",
        "deliveries",
        "created_at",
        "updated_at",
    ]
    actions = ["pause", "resume"]

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

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: bool) -> None:
        if change:
            # No more than what was edited: workers write the health of the same row meanwhile.
            obj.save(update_fields={*form.changed_data, "updated_at"} - {"state"})
            if "state" in form.changed_data:
                change_state = publishing.resume if obj.state == State.ACTIVE else publishing.pause
                change_state(Subscription.objects.filter(pk=obj.pk))
            return
        super().save_model(request, obj, form, change)
        # For response_add alone; the row holds the secret encrypted.
        obj._secret_to_show = obj.add_secret()  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: Subscription, post_url_continue: str | None = None
    ) -> HttpResponse:
        response = super().response_add(request, obj, post_url_continue)
        messages.warning(
            request,
            format_html(
                '{} <input type="text" readonly size="76" aria-label="{}" value="{}">',
                _("Copy the signing secret now and give it to the receiver: it will not be shown again."),
                _("signing secret"),
                obj._secret_to_show,  # type: ignore[attr-defined]
            ),
        )
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

    @admin.action(description=_("Resume the selected subscriptions"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> None:
        resumed = publishing.resume(queryset)
        self.message_user(
            request,
            ngettext(
                "%(count)d subscription is active again. Deliveries that were held are sent now.",
                "%(count)d subscriptions are active again. Deliveries that were held are sent now.",
                resumed,
            )
            % {"count": resumed},
        )
