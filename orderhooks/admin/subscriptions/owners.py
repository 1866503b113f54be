"""Owners of subscriptions in the admin: who may see and choose them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_permission_codename, get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _

from orderhooks.stores import order_stores_of

__all__ = ["OwnerOfStores", "may_see_users"]


def may_see_users(request: HttpRequest) -> bool:
    """Whether the user may learn the names of other users, as the permissions of the project's users say."""
    options = get_user_model()._meta
    names = (get_permission_codename(action, options) for action in ("view", "change"))
    return any(request.user.has_perm(f"{options.app_label}.{name}") for name in names)


@dataclass(frozen=True, slots=True)
class OwnerOfStores:
    """A validator: the owner stays, or is a user who sees one of these stores."""

    stores: Collection[str]
    former: Any

    def __call__(self, owner: Any) -> None:
        if owner.pk == self.former:
            return
        seen = order_stores_of(owner)
        if seen is not None and not seen & {*self.stores}:
            raise ValidationError(_("Choose a user who sees one of your stores."), code="owner")
