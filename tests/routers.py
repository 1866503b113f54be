"""Routers as projects have them: tests name them in DATABASE_ROUTERS."""

from typing import Any

OURS = ("orderhooks", "django_q")


class ReadsFromAReplica:
    """The records are read from a replica, which need not have them yet."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica" if model._meta.app_label in OURS else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "default"
