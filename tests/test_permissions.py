"""Permissions: each name that the admin and the API ask for is one that an administrator can give."""

from django.apps import apps

from orderhooks import permissions

NAMES = {name: value for name, value in vars(permissions).items() if name.isupper()}


def test_every_permission_exists() -> None:
    existing = {
        f"orderhooks.{codename}"
        for model in apps.get_app_config("orderhooks").get_models()
        for codename in [
            *(f"{verb}_{model._meta.model_name}" for verb in model._meta.default_permissions),
            *(codename for codename, _name in model._meta.permissions),
        ]
    }
    assert set(NAMES.values()) <= existing


def test_every_permission_of_our_own_has_a_name_here() -> None:
    own = {
        f"orderhooks.{codename}"
        for model in apps.get_app_config("orderhooks").get_models()
        for codename, _name in model._meta.permissions
    }
    assert own <= set(NAMES.values())


def test_names_are_those_of_the_permissions() -> None:
    assert {name: f"orderhooks.{name.lower()}" for name in NAMES} == NAMES
