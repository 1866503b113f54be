"""An index on a part of a table where the database supports that, and otherwise on all of the table."""

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement


class PartialIndex(models.Index):
    """Like an Index with a condition. MariaDB and MySQL support no conditions: they get it without, not none at all."""

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
