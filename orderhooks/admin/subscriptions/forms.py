"""What is typed of a subscription."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import EMPTY_VALUES
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import catalogue, formats, signing, versions
from orderhooks.admin.stores import StoreForm
from orderhooks.admin.subscriptions.login_forms import LoginsForm
from orderhooks.db.encrypted_fields import seal
from orderhooks.encryption import HIDDEN, Sealed
from orderhooks.models import Subscription
from orderhooks.models.configuration import CONFIGURABLE
from orderhooks.stores import AWAITS_OTHERS, awaits_others


class TopicsWidget(forms.CheckboxSelectMultiple):
    """A box for each topic that this project can make, by family, and a line for other patterns."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        patterns = _patterns(value)
        boxes = {pattern for _family, choices in self.choices for pattern, _label in choices}
        others = [pattern for pattern in patterns if pattern not in boxes]
        typed = forms.TextInput().render(
            f"{name}{OTHERS}", " ".join(others), {"id": f"id_{name}{OTHERS}", "class": "vTextField"}, renderer
        )
        return format_html(
            '<div class="orderhooks-topics">{}<p><label for="id_{}">{}</label> {}</p></div>',
            super().render(name, [pattern for pattern in patterns if pattern in boxes], attrs, renderer),
            f"{name}{OTHERS}",
            _("Others, with spaces between:"),
            typed,
        )

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        chosen = data.getlist(name) if hasattr(data, "getlist") else data.get(name, [])
        return [*_patterns(chosen), *_patterns(data.get(f"{name}{OTHERS}"))]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False


# What the line for other patterns is called, behind the field's name.
OTHERS = "_others"


def choices_of_topics(*, is_operational: bool | None = False) -> list[tuple[str, list[tuple[str, str]]]]:
    """The boxes for a subscription of that kind. None: both kinds, for one whose kind is yet to be chosen."""
    families: dict[str, list[tuple[str, str]]] = {}
    of_operations = [] if is_operational is False else catalogue.OPERATIONAL
    for topic in (*([] if is_operational else catalogue.offered()), *of_operations):
        # Tests are sent to the one subscription that is tested, whatever its topics are.
        if topic.name != catalogue.TEST:
            family = topic.name.rpartition(".")[0]
            kind = gettext("operational") + ": " if topic in catalogue.OPERATIONAL else ""
            families.setdefault(family, []).append((topic.name, f"{topic.name}: {kind}{topic.description}"))
    found = [(gettext("All"), [("*", gettext("*: every topic, also those that are added later"))])]
    for family, choices in families.items():
        every = (f"{family}.*", gettext("%s: all of these, also those that are added later") % f"{family}.*")
        found.append((family, [every, *choices]))
    return found


def format_field() -> forms.ChoiceField:
    return KeptChoiceField(
        label=_("Format"),
        required=False,
        help_text=_("How the body is written. Receivers of CloudEvents have to allow the requests first, by OPTIONS."),
    )


def choices_of_formats(chosen: str | None = None) -> list[tuple[str, str | Promise]]:
    """Those of the registry, and the chosen one although the setting FORMATS has it no more."""
    found = formats.choices()
    if chosen and chosen not in dict(found):
        found.append((chosen, _("%s: missing in the setting FORMATS") % chosen))
    return found


def _patterns(value: Any) -> list[str]:
    """Patterns, each once, as a list or as text with spaces, commas or new lines between."""
    texts = [value] if isinstance(value, str) else value or []
    return list(dict.fromkeys(pattern for text in texts for pattern in str(text).replace(",", " ").split()))


class TopicsField(forms.Field):
    """A list of patterns."""

    widget = TopicsWidget
    empty_values = [*EMPTY_VALUES]

    def to_python(self, value: Any) -> list[str]:
        return _patterns(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return set(initial or []) != set(_patterns(data))


class FieldPatternsField(forms.CharField):
    """A list of fields, as text with spaces between."""

    def prepare_value(self, value: Any) -> Any:
        return " ".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return _patterns(super().clean(value))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return list(initial or []) != _patterns(data)


class ExpressionWidget(forms.Textarea):
    """Several lines of code."""

    def __init__(self) -> None:
        super().__init__(attrs={"rows": 3, "cols": 80, "spellcheck": "false", "class": "vLargeTextField"})


def changed_fields_field() -> forms.Field:
    return FieldPatternsField(
        label=_("Changed fields"),
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text=_(
            "Of order.updated, only what changes one of these, with spaces between: shipping_address lines.quantity"
            " fulfillments.*. Blank: any change."
        ),
    )


def filter_field() -> forms.Field:
    return forms.CharField(
        label=_("Filter"),
        required=False,
        widget=ExpressionWidget(),
        help_text=_(
            "Only events for which this JMESPath expression is true. Texts in single quotation marks, numbers in"
            " backticks, amounts by to_number: data.order.currency == 'EUR' && to_number(data.order.total) > `100`"
        ),
    )


def projection_field() -> forms.Field:
    return forms.CharField(
        label=_("Projection"),
        required=False,
        widget=ExpressionWidget(),
        help_text=_(
            "A JMESPath expression that makes the body's data of the whole body: {number: data.order.number, skus:"
            " data.order.lines[].sku}. Blank: the order and its changes."
        ),
    )


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
        return bool(self.prepare_value(initial or {}).split() != (data or "").split())


def choices_of_versions(own: str = "") -> list[tuple[str, str]]:
    """The registered versions of the body, newest first, and a subscription's own, also if it is not registered."""
    names = {*versions.registered(), own} - {""}
    return [(name, name) for name in sorted(names, reverse=True)]


class KeptChoiceField(forms.ChoiceField):
    """A choice. A program that sends none leaves it as it is."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data) and super().has_changed(initial, data)


class SubscriptionForm(StoreForm, LoginsForm):
    topics = TopicsField(
        label=_("Topics"),
        error_messages={"required": _("Name at least one topic, such as order.paid, or * for all.")},
    )

    changed_fields = changed_fields_field()
    filter = filter_field()
    projection = projection_field()
    format = format_field()
    api_version = KeptChoiceField(
        label=_("Version"),
        required=False,
        help_text=_("It gets bodies in this version, also when there are newer ones, until it is moved on."),
    )
    headers = HeadersField(
        label=_("Headers"),
        required=False,
        help_text=_("Sent with each request, one Name: value per line, such as Authorization: Bearer …. Encrypted."),
    )

    secret = forms.CharField(
        label=_("Its own secret"),
        required=False,
        max_length=200,
        # Off would not keep browsers from filling in the password of the user who is logged in.
        widget=forms.PasswordInput(attrs={"size": 80, "autocomplete": "new-password", "spellcheck": "false"}),
        help_text=_(
            "For a receiver that has a signing secret already: whsec_ and 24 to 64 bytes in base64, or for Ed25519"
            " whsk_ and a key pair. Blank: one is made, and shown on the next page."
        ),
    )

    # The names of headers whose hidden values do not go along to another host.
    left_behind: Sequence[str] = ()

    class Meta:
        model = Subscription
        # The state is changed by buttons: pausing and resuming are more than a new value.
        fields = ["owner", *(name for name in CONFIGURABLE if name != "state")]
        widgets = {"url": forms.TextInput(attrs={"size": 80})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "topics" in self.fields:
            # Read now, not at import: the setting TOPICS adds to the catalogue.
            kind = None if "operational" in self.fields else self.instance.operational
            self.fields["topics"].widget.choices = choices_of_topics(is_operational=kind)
        if "format" in self.fields:
            self.fields["format"].choices = choices_of_formats(self.instance.format)  # type: ignore[attr-defined]
        if "api_version" in self.fields:
            # One that is not registered any more stays as it is until another is chosen.
            choices = choices_of_versions(self.instance.api_version)
            self.fields["api_version"].choices = choices  # type: ignore[attr-defined]
        if self.instance.pk:
            # Rotating is how to change it.
            self.fields.pop("secret", None)
        if "objective_share" in self.fields:
            self.fields["objective_share"].required = False
        if "headers" in self.fields:
            self.fields["headers"].former = self.instance.headers  # type: ignore[attr-defined]
            if self.instance.headers and "url" in self.fields:
                self.fields["url"].help_text = _(
                    "If you change the host or the port, the hidden values of its headers are dropped: type those that"
                    " the new host should get."
                )

    def full_clean(self) -> None:
        super().full_clean()
        if self.errors and "secret" not in self.errors and self.cleaned_data.get("secret"):
            # If it were left blank by oversight, a secret would be made that the receiver does not have.
            self.add_error("secret", ValidationError(_("Type the secret again: no page shows it."), code="again"))

    def clean_api_version(self) -> str:
        chosen: str = self.cleaned_data["api_version"]
        return chosen or self.instance.api_version

    def clean_format(self) -> str:
        chosen: str = self.cleaned_data["format"]
        return chosen or self.instance.format

    def clean_objective_share(self) -> float:
        """Left blank, it stays as it is."""
        share: float | None = self.cleaned_data["objective_share"]
        if share is not None:
            return share
        self.changed_data = [name for name in self.changed_data if name != "objective_share"]
        kept: float = self.instance.objective_share
        return kept

    def clean_topics(self) -> list[str]:
        """In the stored order, if they are the same: the model does not validate stored patterns again."""
        chosen: list[str] = self.cleaned_data["topics"]
        return list(self.instance.topics) if set(chosen) == set(self.instance.topics or ()) else chosen

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "url" in cleaned and "url" in self.changed_data and awaits_others(self.instance, self.stores):
            self.add_error("url", ValidationError(AWAITS_OTHERS, code="store"))
        if {"url", "headers"} <= cleaned.keys():
            # The model drops them when it is saved.
            self.left_behind = self.instance.headers_left_behind(url=cleaned["url"], headers=cleaned["headers"])
        if cleaned.get("secret"):
            try:
                signing.require_secret(cleaned["secret"], cleaned.get("signature", signing.STANDARD))
            except signing.InvalidSecretError as error:
                self.add_error("secret", ValidationError(str(error), code="secret"))
        return cleaned
