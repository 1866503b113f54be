"""Who may call: users with the model permissions that the admin asks for as well, `view` included."""

from collections.abc import Collection
from typing import Any

from rest_framework.permissions import DjangoModelPermissions
from rest_framework.request import Request

VIEW = ["%(app_label)s.view_%(model_name)s"]
CHANGE = ["%(app_label)s.change_%(model_name)s"]
REDELIVER = ["%(app_label)s.redeliver_%(model_name)s"]
# To see what was sent and answered, beside the log itself.
VIEW_PAYLOAD = "orderhooks.view_payload"


class ModelPermissions(DjangoModelPermissions):
    """Django's add, change, delete and (unlike its parent) view permission on the view's model."""

    perms_map = {**DjangoModelPermissions.perms_map, "GET": VIEW, "HEAD": VIEW}


class MayChange(DjangoModelPermissions):
    """For actions: POST changes a record that exists, it adds none."""

    perms_map = {**DjangoModelPermissions.perms_map, "POST": CHANGE}


class MayRedeliver(DjangoModelPermissions):
    """For sending again, which changes nothing that a delivery says."""

    perms_map = {**DjangoModelPermissions.perms_map, "POST": REDELIVER}


def visible(fields: dict[str, Any], request: Request, *, hidden: Collection[str]) -> dict[str, Any]:
    """A serializer's fields, without the hidden ones if the user may not see payloads."""
    if request.user.has_perm(VIEW_PAYLOAD):
        return fields
    return {name: field for name, field in fields.items() if name not in hidden}
