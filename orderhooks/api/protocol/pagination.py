"""Pages by cursor: a late page costs as much as the first one."""

import re
from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from orderhooks import encryption
from orderhooks.api.protocol.problems import ParameterError
from orderhooks.api.protocol.query_parameters import int_parameter
from orderhooks.encryption import Purpose

__all__ = ["KeysetPagination", "page_size_of"]

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
PRIMARY_KEY = re.compile("[0-9]{1,18}")


def page_size_of(request: Request) -> int:
    """The value of `?page_size=`, 1 to 200, 50 by default. Raises ParameterError."""
    return int_parameter(request, "page_size", default=PAGE_SIZE, lowest=1, highest=MAX_PAGE_SIZE)


class KeysetPagination(CursorPagination):
    """Pages by primary key, with which the log's indexes end: newest first, or as `?ordering=` says.

    Primary keys are in the order of creation. `?ordering=` names the view's `ordered_by` in their place.
    """

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE
    ordering = "-pk"

    def get_page_size(self, request: Request) -> int:
        return page_size_of(request)

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        name = view.ordered_by
        orderings = {f"-{name}": ("-pk",), name: ("pk",)}
        ordering = request.query_params.get("ordering", f"-{name}")
        if ordering not in orderings:
            raise ParameterError({"ordering": [f"Send one of: {', '.join(orderings)}."]})
        return orderings[ordering]

    # The position is encrypted, so that primary keys are not shown and forged ones do not reach the database.

    def encode_cursor(self, cursor: Any) -> str:
        if cursor.position is not None:
            cursor = cursor._replace(position=encryption.encrypt(cursor.position, Purpose.CURSOR))
        return super().encode_cursor(cursor)

    def decode_cursor(self, request: Request) -> Any:
        # DRF would respond 404, and would treat an empty cursor as the first page.
        invalid = ParameterError({"cursor": ["This is not a valid cursor. Start again without one."]}, code="cursor")
        if request.query_params.get("cursor") == "":
            raise invalid
        try:
            cursor: Any = super().decode_cursor(request)
            if cursor is None or cursor.position is None:
                return cursor
            # CURSOR has its own keys: otherwise a stored secret sent as a cursor would be decrypted, and shown in the
            # database's error.
            position = encryption.decrypt(cursor.position, Purpose.CURSOR)
            if not PRIMARY_KEY.fullmatch(position):
                raise invalid
            return cursor._replace(position=position)
        except (NotFound, encryption.UndecryptableError, ValueError):
            raise invalid from None
