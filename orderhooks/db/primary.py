"""The one database that orderhooks works in: the one that the project's routers name for writing.

# Note [One database]
A replica lags behind: what was just written may not be there, and rows can't be locked there at all. So the records
are read where they are written, whatever `db_for_read` says. To report from a replica, name it:
`Delivery.objects.using("replica")`.
"""

from typing import Any

from django.apps import apps
from django.db import models, router


def own_database() -> str:
    """The alias of the database that holds the outbox and the log."""
    return router.db_for_write(apps.get_model("orderhooks", "Delivery"))


def read_where_written(model: type[models.Model]) -> None:
    """Let the managers and query sets of a model use it, unless `using` says otherwise. See Note [One database].

    The model's query set has to be a class of its own, as its manager's is then.
    """
    manager = model._default_manager
    rows = type(manager.all())
    for cls in (type(manager), rows):
        cls.db = property(_db)  # type: ignore[assignment, method-assign]
    rows.raw = _raw  # type: ignore[assignment, method-assign]


def _db(self: Any) -> str:
    return self._db or router.db_for_write(self.model, **self._hints)


def _raw(self: Any, query: Any, params: Any = (), translations: Any = None, using: str | None = None) -> Any:
    return models.QuerySet.raw(self, query, params, translations, using or self.db)
