"""Pages by cursor, so that a page costs the same however deep it lies in the log."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination

from orderhooks import secrets


class NewestFirst(CursorPagination):
    """By primary key, which the indexes of the log end with. `?page_size=` up to 200."""

    ordering = "-pk"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    # The position is sealed: a primary key does not leave the database, and a forged one does not reach it.

    def encode_cursor(self, cursor: Any) -> str:
        if cursor.position is not None:
            sealed = secrets.encrypt(cursor.position)
            cursor = cursor._replace(position=sealed)
        return super().encode_cursor(cursor)

    def decode_cursor(self, request: Any) -> Any:
        cursor: Any = super().decode_cursor(request)
        if cursor is None or cursor.position is None:
            return cursor
        try:
            position = secrets.decrypt(cursor.position)
        except (secrets.UndecryptableError, ValueError):
            raise NotFound("This cursor is not one that we gave. Begin again without ?cursor=.") from None
        return cursor._replace(position=position)
