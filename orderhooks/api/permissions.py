"""Who may call: users with the model permissions that the admin asks for as well, `view` included."""

from rest_framework.permissions import DjangoModelPermissions

VIEW = ["%(app_label)s.view_%(model_name)s"]
CHANGE = ["%(app_label)s.change_%(model_name)s"]


class ModelPermissions(DjangoModelPermissions):
    """Django's add, change, delete and (unlike its parent) view permission on the view's model."""

    perms_map = {**DjangoModelPermissions.perms_map, "GET": VIEW, "HEAD": VIEW}


class MayChange(DjangoModelPermissions):
    """For actions: POST changes a record that exists, it adds none."""

    perms_map = {**DjangoModelPermissions.perms_map, "POST": CHANGE}
