"""What indexes are made of that Django has not: an index on a part of a table, and a status code's class."""

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.models.sql.compiler import SQLCompiler


class StatusClass(models.Func):
    """The first digit of a status code."""

    template = "(%(expressions)s / 100)"
    arity = 1
    output_field = models.SmallIntegerField()

    def as_mysql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> tuple[str, Any]:
        # Its slash makes decimal places.
        return self.as_sql(compiler, connection, template="(%(expressions)s DIV 100)", **context)


class PartialIndex(models.Index):
    """Like an Index with a condition; but MariaDB and MySQL, which know no conditions, get it without, not none."""

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Statement:
        return _fitting(self, schema_editor).create_sql(model, schema_editor, using, **kwargs)

    def remove_sql(self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, **kwargs: Any) -> str:
        return _fitting(self, schema_editor).remove_sql(model, schema_editor, **kwargs)


def _fitting(index: PartialIndex, schema_editor: BaseDatabaseSchemaEditor) -> models.Index:
    _path, arguments, options = index.deconstruct()
    if not schema_editor.connection.features.supports_partial_indexes:
        del options["condition"]
    return models.Index(*arguments, **options)
