"""Buttons on a record's page: each is a POST to its own URL, needs a permission, and works without scripts.

They are drawn in a read-only field, which every admin theme shows, and leave the page's form by `formaction`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from orderhooks.admin.lookups import ListedLookups

__all__ = ["Button", "ButtonsAdmin", "draw_button", "pressed_too_late"]


@dataclass(frozen=True, slots=True)
class Button:
    """`name` is the last part of the URL and of the admin's method `press_<name>(request, obj)`.

    `permission` names the admin's method `has_<permission>_permission(request)`, as for actions. One that talks to the
    `network` runs outside the transaction that ATOMIC_REQUESTS opens.
    """

    name: str
    label: str | Promise
    permission: str
    danger: bool = False
    network: bool = False
    # Whether it is the main button. A page has at most one, and none if it has a button to save.
    main: bool = False


def draw_button(url: str, label: str | Promise, *, classes: str = "") -> SafeString:
    """A button that posts the form around it to the URL."""
    return format_html(
        '<button type="submit" class="button orderhooks-button{}" formmethod="post" formnovalidate'
        ' formaction="{}">{}</button>',
        classes,
        url,
        label,
    )


def pressed_too_late(request: HttpRequest, label: str | Promise, url: str) -> HttpResponse:
    """The response to a GET of a button's URL: its page at `url`, with a warning.

    It comes from the page for logging in, if the session had ended when the button was pressed; or from a person who
    opened the address.
    """
    text = _("Nothing was done. If you pressed “%(button)s” after you had been logged out, press it again.")
    messages.warning(request, text % {"button": label})
    return HttpResponseRedirect(url)


class ButtonsAdmin(ListedLookups):
    """A ModelAdmin whose record's page has `buttons`, in the read-only field `what_to_do`.

    `press_<name>` returns a response, or None to come back to the page. It is not called where `why_not` says why.
    """

    buttons: tuple[Button, ...] = ()

    class Media:
        css = {"all": ["orderhooks/admin.css"]}

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<path:object_id>/{button.name}/",
                self._view_of(button),
                {"button": button},
                name=f"{self._view_name}_{button.name}",
            )
            for button in self.buttons
        ]
        return [*own, *super().get_urls()]

    def _view_of(self, button: Button) -> Callable[..., HttpResponseBase]:
        view: Callable[..., HttpResponseBase] = self.admin_site.admin_view(self._press)
        return transaction.non_atomic_requests(view) if button.network else view

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        record = super().get_object(request, object_id, from_field)
        if record is not None:
            # A read-only field does not get the request, and so not the user.
            record._request = request
            record._buttons = [
                button
                for button in self.buttons
                if self.may_press(request, button) and not self.why_not(record, button)
            ]
        return record

    def may_press(self, request: HttpRequest, button: Button) -> bool:
        """Whether this user has its permission."""
        return bool(getattr(self, f"has_{button.permission}_permission")(request))

    def why_not(self, record: Any, button: Button) -> str | Promise:
        """Why the record's state does not allow it, as a sentence. Blank if it does."""
        return ""

    @admin.display(description=_("what to do"))
    def what_to_do(self, record: Any) -> SafeString | str:
        buttons = [self._draw(record, button) for button in getattr(record, "_buttons", ())]
        if not buttons:
            return "-"
        drawn = format_html_join("\n", "{}", ((button,) for button in buttons))
        hint = self.what_follows(record)
        return format_html('{}<p class="orderhooks-hint">{}</p>', drawn, hint) if hint else drawn

    def what_follows(self, record: Any) -> str:
        """A sentence below the buttons: what pressing the first one gives. Blank for none."""
        return ""

    def _draw(self, record: Model, button: Button) -> SafeString:
        url = reverse(f"{self.admin_site.name}:{self._view_name}_{button.name}", args=[record.pk])
        classes = (" orderhooks-main" if button.main else "") + (" orderhooks-danger" if button.danger else "")
        return draw_button(url, button.label, classes=classes)

    # The fields of the page's form are sent too; no button reads them.
    @method_decorator(sensitive_post_parameters())
    def _press(self, request: HttpRequest, object_id: str, button: Button) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            if not self.has_view_permission(request):
                raise PermissionDenied
            return pressed_too_late(
                request, button.label, reverse(f"{self.admin_site.name}:{self._view_name}_change", args=[object_id])
            )
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        record = self.get_object(request, object_id)
        if record is None:
            raise Http404
        if not (self.has_view_permission(request, record) and self.may_press(request, button)):
            raise PermissionDenied
        response: HttpResponse | None = None
        if button in record._buttons:
            response = getattr(self, f"press_{button.name}")(request, record)
        else:
            # The page was out of date: the record has changed since it was shown.
            messages.warning(request, str(self.why_not(record, button)))
        return response or HttpResponseRedirect(
            reverse(f"{self.admin_site.name}:{self._view_name}_change", args=[record.pk])
        )

    @property
    def _view_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"
