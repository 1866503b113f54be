"""The net changes of several events of one order."""

from typing import Any

import pytest

from orderhooks import net_values

pytestmark = pytest.mark.once

ROWS = {"lines"}
TWO, THREE, FOUR = ({"id": 1, "quantity": number} for number in (2, 3, 4))
OTHER = {"id": 2, "quantity": 9}


@pytest.mark.parametrize(
    ("changes", "net"),
    [
        ([{"note": ["a", "b"]}], {"note": ["a", "b"]}),
        ([{"note": ["a", "b"]}, {"note": ["b", "c"]}], {"note": ["a", "c"]}),
        ([{"note": ["a", "b"]}, {"note": ["b", "a"]}], {}),
        ([{"note": ["a", "b"]}, {"total": ["1.00", "2.00"]}], {"note": ["a", "b"], "total": ["1.00", "2.00"]}),
        ([{"note": ["a", "b"], "total": [1, 2]}, {"note": ["b", "a"]}], {"total": [1, 2]}),
        ([{"tags": [["x"], ["y"]]}, {"tags": [["y"], ["z"]]}], {"tags": [["x"], ["z"]]}),
        ([{"tags": [[{"id": 1}], []]}, {"tags": [[], [{"id": 2}]]}], {"tags": [[{"id": 1}], [{"id": 2}]]}),
        ([{"lines": [[TWO], [THREE]]}, {"lines": [[THREE], [FOUR]]}], {"lines": [[TWO], [FOUR]]}),
        ([{"lines": [[TWO], [THREE]]}, {"lines": [[THREE], [TWO]]}], {}),
        ([{"lines": [[], [TWO]]}, {"lines": [[TWO], [THREE]]}], {"lines": [[], [THREE]]}),
        ([{"lines": [[], [TWO]]}, {"lines": [[TWO], []]}], {}),
        ([{"lines": [[TWO], []]}, {"lines": [[], [OTHER]]}], {"lines": [[TWO], [OTHER]]}),
        ([{"lines": [[TWO], [THREE]]}, {"lines": [[OTHER], []]}], {"lines": [[TWO, OTHER], [THREE]]}),
        # What a reconciliation found: rows of the payload, without an id.
        ([{"lines": [[], [{"sku": "A"}]]}, {"lines": [[{"sku": "A"}], []]}], {}),
        ([{}, {}], {}),
        ([], {}),
    ],
)
def test_the_first_old_value_stands_against_the_last_new_one(changes: list[Any], net: dict[str, Any]) -> None:
    assert net_values.merged(changes, ROWS) == net


def test_three_are_as_two_and_one() -> None:
    changes: list[dict[str, Any]] = [
        {"note": ["a", "b"], "lines": [[TWO], [THREE]]},
        {"note": ["b", "c"], "lines": [[], [OTHER]]},
        {"note": ["c", "a"], "lines": [[THREE, OTHER], [FOUR]]},
    ]
    in_steps = net_values.merged([net_values.merged(changes[:2], ROWS), changes[2]], ROWS)
    assert in_steps == net_values.merged(changes, ROWS) == {"lines": [[TWO], [FOUR]]}


def test_rows_are_known_by_their_ids_where_the_source_is_gone() -> None:
    changes: list[Any] = [{"lines": [[TWO], [THREE]]}, {"lines": [[THREE], [TWO]], "note": ["a", "b"]}]
    assert net_values.merged(changes, None) == {"note": ["a", "b"]}
