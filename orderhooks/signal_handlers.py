"""Django's model signals, passed on to `outbox` inside its guard. Connected only to watched models.

A handler of pre_delete without a sender would make Django read the rows of any model before it deletes them.
"""

import functools
from typing import Any

from django.db import router
from django.db.models import Model
from django.db.models.signals import post_save, pre_delete, pre_save

from orderhooks import outbox, publishing, querysets, sources
from orderhooks.sources import WatchedModel


def on_pre_save(
    *, instance: Model, raw: bool, using: str, update_fields: frozenset[str] | None, **_kwargs: Any
) -> None:
    def capture(watched_model: WatchedModel) -> None:
        outbox.before_save(watched_model, instance, update_fields=update_fields, using=using)

    # `raw` means loaddata: fixtures restore a state, so nothing has happened to an order.
    if not raw:
        outbox.guarded(instance, using=using, capture=capture)


def on_post_save(*, instance: Model, raw: bool, created: bool, using: str, **_kwargs: Any) -> None:
    def capture(watched_model: WatchedModel) -> None:
        outbox.after_save(watched_model, instance, created=created, using=using, on_events=publishing.announce_events)

    if not raw:
        outbox.guarded(instance, using=using, capture=capture)


def on_pre_delete(*, instance: Model, using: str, **_kwargs: Any) -> None:
    def capture(watched_model: WatchedModel) -> None:
        # Django signals the deletion of a child's row apart from that of its parent's row, which may stay
        # (`keep_parents`).
        if type(instance)._meta.concrete_model is watched_model.model._meta.concrete_model:
            outbox.before_delete(watched_model, instance, using=using, on_events=publishing.announce_events)

    outbox.guarded(instance, using=using, capture=capture)


def connect() -> None:
    """Connect the handlers. `apps` calls it once. Call it again after the setting SOURCES, or a model, has changed."""
    for model in sources.saved_models():
        pre_save.connect(on_pre_save, sender=model, dispatch_uid="orderhooks.pre_save")
        post_save.connect(on_post_save, sender=model, dispatch_uid="orderhooks.post_save")
        _make_saves_atomic(model)
    querysets.use_tracker(functools.partial(outbox.track, on_events=publishing.announce_events))
    for model in sources.deleted_models():
        pre_delete.connect(on_pre_delete, sender=model, dispatch_uid="orderhooks.pre_delete")


def _make_saves_atomic(model: type[Model]) -> None:
    """Let `save_base`, which sends both signals of a save, run by `outbox.save_atomically`."""
    save_base = model.save_base
    if getattr(save_base, "is_atomic_for_orderhooks", False):
        return

    @functools.wraps(save_base)
    def atomic_save_base(self: Model, *args: Any, **options: Any) -> None:
        watched_models = () if args or options.get("raw") else _watched_models(self)
        if not watched_models:
            return save_base(self, *args, **options)
        options["using"] = options.get("using") or router.db_for_write(type(self), instance=self)
        outbox.save_atomically(
            watched_models,
            self,
            lambda: save_base(self, **options),
            update_fields=options.get("update_fields"),
            using=options["using"],
        )
        return None

    atomic_save_base.is_atomic_for_orderhooks = True  # type: ignore[attr-defined]
    model.save_base = atomic_save_base  # type: ignore[method-assign]


def _watched_models(instance: Model) -> tuple[WatchedModel, ...]:
    try:
        return sources.watched_models(instance)
    except Exception:
        return ()  # the guard of the signals reports it
