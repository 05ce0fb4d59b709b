"""docs/bindings.md says what the code does: it is made from the same table, and covers every operation."""

from __future__ import annotations

from pathlib import Path

from bindings.contract.notes import COMMON_ERRORS
from bindings.operations import OPERATIONS, REFERENCE
from bindings.reference import reference
from model.scripts import BindingKind

PAGE = Path(__file__).parents[2] / "docs" / "bindings.md"


def test_page_agrees_with_the_table() -> None:
    assert PAGE.read_text() == reference(), "run: python -m bindings.reference > docs/bindings.md"


def test_every_operation_that_is_served_is_described_as_it_is() -> None:
    described = {row.name: row for row in REFERENCE}
    assert len(described) == len(REFERENCE)
    for name, operation in OPERATIONS.items():
        assert (operation.name, operation.binding_kind, operation.subrequest) == (
            name,
            described[name].binding,
            described[name].subrequest,
        )


def test_every_kind_of_binding_but_text_has_an_operation() -> None:
    kinds = {operation.binding_kind for operation in OPERATIONS.values()} - {None}
    assert kinds == set(BindingKind) - {BindingKind.PLAIN_TEXT, BindingKind.JSON}


def test_page_names_every_operation_and_common_error() -> None:
    page = reference()
    for row in REFERENCE:
        assert f"### {row.name}\n" in page
    for code in COMMON_ERRORS:
        assert f"`{code}`" in page
