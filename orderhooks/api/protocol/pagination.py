"""Pages by cursor, so that a page costs the same however deep it lies in the log."""

import re
from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from orderhooks import encryption
from orderhooks.api.protocol.numbers import whole_number
from orderhooks.api.protocol.problems import ParameterError
from orderhooks.encryption import Purpose

__all__ = ["Pages", "page_size_of"]

PAGE_SIZE = 50
MOST = 200
PRIMARY_KEY = re.compile("[0-9]{1,18}")


def page_size_of(request: Request) -> int:
    """`?page_size=`, 1 to 200. Raises ParameterError."""
    return whole_number(request, "page_size", default=PAGE_SIZE, lowest=1, highest=MOST)


class Pages(CursorPagination):
    """By primary key, which the indexes of the log end with: newest first, or as `?ordering=` says.

    The view's `ordered_by` is what `ordering` calls the primary key, whose order is that of the rows' making.
    """

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MOST
    ordering = "-pk"

    def get_page_size(self, request: Request) -> int:
        return page_size_of(request)

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        name = view.ordered_by
        orders = {f"-{name}": ("-pk",), name: ("pk",)}
        wanted = request.query_params.get("ordering", f"-{name}")
        if wanted not in orders:
            raise ParameterError({"ordering": [f"Give one of: {', '.join(orders)}."]})
        return orders[wanted]

    # The position is sealed: a primary key does not leave the database, and a forged one does not reach it.

    def encode_cursor(self, cursor: Any) -> str:
        if cursor.position is not None:
            sealed = encryption.encrypt(cursor.position, Purpose.CURSOR)
            cursor = cursor._replace(position=sealed)
        return super().encode_cursor(cursor)

    def decode_cursor(self, request: Request) -> Any:
        # DRF answers 404, and takes nothing for the first page.
        refusal = ParameterError(
            {"cursor": ["This cursor is not one that we gave. Begin again without it."]}, code="cursor"
        )
        if request.query_params.get("cursor") == "":
            raise refusal
        try:
            cursor: Any = super().decode_cursor(request)
            if cursor is None or cursor.position is None:
                return cursor
            # Never under the keys of what is stored: a stored secret would be opened, and told in the database's error.
            position = encryption.decrypt(cursor.position, Purpose.CURSOR)
            if not PRIMARY_KEY.fullmatch(position):
                raise refusal
            return cursor._replace(position=position)
        except (NotFound, encryption.UndecryptableError, ValueError):
            raise refusal from None
