"""What is typed: a subscription, how to resume it, how to rotate its secret, which order to preview."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import EMPTY_VALUES
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy
from django.views.decorators.debug import sensitive_variables

from orderhooks import previews, topics
from orderhooks.db.encrypted_fields import seal
from orderhooks.encryption import HIDDEN, Sealed
from orderhooks.models import Subscription
from orderhooks.models.subscriptions import LONGEST_OVERLAP, OVERLAP, validate_topics

HOUR = timedelta(hours=1)
OVERLAP_HOURS = round(OVERLAP / HOUR)
LOCAL_FORMAT = "%Y-%m-%dT%H:%M"


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
                raise ValidationError(
                    _("Line %d is not a valid header. Write it as Name: value.") % number, code="headers"
                )
            if name.strip() in headers:
                raise ValidationError(_("The header %s is given twice. Keep one.") % name.strip(), code="headers")
            headers[name.strip()] = text.strip()
        return seal(headers, former=self.former)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.prepare_value(initial or {}).split() != (data or "").split()


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

    # The names of headers whose hidden values do not go along to another host.
    left_behind: Sequence[str] = ()

    class Meta:
        model = Subscription
        # The state is changed by buttons: pausing and resuming are more than a new value.
        fields = [
            "name",
            "store",
            "owner",
            "url",
            "topics",
            "headers",
            "signature",
            "ordered",
            "max_in_flight",
            "max_per_second",
            "timeout_seconds",
            "contact_email",
            "mail_failing",
            "mail_disabled",
            "mail_recovered",
        ]
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
            if self.instance.headers and "url" in self.fields:
                self.fields["url"].help_text = _(
                    "If you change the host or the port, the hidden values of its headers are dropped: type those that"
                    " the new host should get."
                )

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if {"url", "headers"} <= cleaned.keys():
            # The model drops them when it is saved.
            self.left_behind = self.instance.headers_left_behind(url=cleaned["url"], headers=cleaned["headers"])
        return cleaned


class ResumptionForm(forms.Form):
    """What should happen to the held deliveries."""

    ALL, NEWER, NONE = "all", "newer", "none"

    choice = forms.ChoiceField(
        label=_("Held deliveries"),
        widget=forms.RadioSelect,
        initial=ALL,
        choices=[
            (ALL, _("Send all of them, the longest due first")),
            (NEWER, _("Send those that are newer than the time below, and skip the others")),
            (NONE, _("Skip all of them: only what happens from now on is sent")),
        ],
    )
    moment = forms.DateTimeField(
        label=_("Newer than"),
        required=False,
        initial=lambda: timezone.now() - timedelta(days=1),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=LOCAL_FORMAT),
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("choice") == self.NEWER and not given.get("moment") and "moment" not in self.errors:
            self.add_error("moment", _("Say from which moment on deliveries are sent."))
        return given

    def skip_before(self, *, now: datetime) -> datetime | None:
        """What `publishing.resume` is told."""
        moment: datetime | None = self.cleaned_data["moment"]
        return {self.ALL: None, self.NEWER: moment, self.NONE: now}[self.cleaned_data["choice"]]


class RotationForm(forms.Form):
    """How long the former secret goes on signing."""

    hours = forms.TypedChoiceField(
        label=_("The former secret"),
        coerce=int,
        initial=OVERLAP_HOURS,
        widget=forms.RadioSelect,
        choices=[
            (0, _("is revoked now: receivers that don't know the new one yet refuse requests")),
            *(
                (
                    hours,
                    ngettext_lazy(
                        "signs beside the new one for %d hour", "signs beside the new one for %d hours", hours
                    )
                    % hours,
                )
                for hours in (1, 6, OVERLAP_HOURS, 72, round(LONGEST_OVERLAP / HOUR))
            ),
        ],
    )

    @property
    def overlap(self) -> timedelta:
        overlap: timedelta = self.cleaned_data["hours"] * HOUR
        return overlap


class PreviewForm(forms.Form):
    """Which order, and what would have happened to it."""

    order = forms.CharField(label=_("Order number"), max_length=64)
    topic = forms.ChoiceField(label=_("Topic"))

    def __init__(self, *args: Any, subscription: Subscription, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["topic"].choices = [  # type: ignore[attr-defined]
            (name, name) for name in previews.topics_to_preview(subscription)
        ]
