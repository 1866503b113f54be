"""Django's model signals, handed on to `publishing`. Connected to the watched models alone.

A handler of pre_delete without a sender would make Django read before it deletes, whatever the model.
"""

from typing import Any

from django.db.models import Model
from django.db.models.signals import post_save, pre_delete, pre_save

from orderhooks import publishing, sources


def on_pre_save(
    *, instance: Model, raw: bool, using: str, update_fields: frozenset[str] | None, **_kwargs: Any
) -> None:
    # `raw` is loaddata: fixtures restore a state, they are nothing that happened.
    if not raw and (role := sources.role_of(instance)):
        publishing.about_to_save(role, instance, update_fields=update_fields, using=using)


def on_post_save(*, instance: Model, raw: bool, created: bool, using: str, **_kwargs: Any) -> None:
    if not raw and (role := sources.role_of(instance)):
        publishing.saved(role, instance, created=created, using=using)


def on_pre_delete(*, instance: Model, using: str, **_kwargs: Any) -> None:
    if role := sources.role_of(instance):
        publishing.about_to_delete(role, instance, using=using)


def connect() -> None:
    """Called once, by `apps`; again by whoever changes the setting SOURCES, or defines models, later."""
    for model in sources.watched_models():
        pre_save.connect(on_pre_save, sender=model, dispatch_uid="orderhooks.pre_save")
        post_save.connect(on_post_save, sender=model, dispatch_uid="orderhooks.post_save")
        pre_delete.connect(on_pre_delete, sender=model, dispatch_uid="orderhooks.pre_delete")
