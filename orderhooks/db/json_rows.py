"""Rows as JSON, for statements of PostgreSQL that take many at once (`jsonb_to_recordset`)."""

from collections.abc import Iterable, Iterator

__all__ = ["arrays"]

# PostgreSQL takes 256 MB at most.
CHARACTERS_AT_ONCE = 4_000_000


def arrays(rows: Iterable[str]) -> Iterator[str]:
    """JSON arrays of the rows, each as long as a statement can take, or of one row that is longer. One array at least.

    What events carry may be long.
    """
    piece: list[str] = []
    length = 0
    for row in rows:
        if piece and length + len(row) > CHARACTERS_AT_ONCE:
            yield f"[{','.join(piece)}]"
            piece, length = [], 0
        piece.append(row)
        length += len(row)
    yield f"[{','.join(piece)}]"
