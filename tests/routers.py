"""Routers as projects have them: tests name them in DATABASE_ROUTERS."""

from typing import Any

OURS = ("orderhooks", "django_q")


class ReadsFromAReplica:
    """The records are read from a replica, which need not have them yet."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica" if model._meta.app_label in OURS else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "default"


class AllInTheShop:
    """The shop's database holds orders, orderhooks and users; sessions and the queue stay behind."""

    apps: tuple[str, ...] = ("orderhooks", "auth", "contenttypes", "admin")

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "shop" if model._meta.app_label in self.apps else "default"

    db_for_read = db_for_write

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == ("shop" if app_label in self.apps else "default")


class ShopOfItsOwn(AllInTheShop):
    """As projects have it that route their orders away: the log stays where the users are."""

    apps = ("auth",)


class NotMigrated(AllInTheShop):
    """Forgets to let the tables be made."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "default"


class AllReadsFromAReplica(ReadsFromAReplica):
    """The store's own rows too, as in the example of Django's documentation."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica"
