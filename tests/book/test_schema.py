"""The contract itself: what it declares is consistent, and cannot be changed by accident."""

import pytest
from pydantic import ValidationError

from collectlab.book.schema import CHANNELS, OUTCOMES, STATUSES, TABLES, Table, contract
from collectlab.book.schema_about import About


def test_only_accounts_and_snapshots_are_required():
    assert [name for name, table in TABLES.items() if table.required] == ["accounts", "snapshots"]


def test_the_required_columns_are_those_of_the_design():
    required = {
        name: [column.name for column in table.columns if column.required] for name, table in TABLES.items()
    }
    assert required == {
        "accounts": ["account_id"],
        "snapshots": ["account_id", "as_of", "days_past_due"],
        "payments": ["account_id", "paid_on", "amount"],
        "actions": ["account_id", "at", "channel"],
        "assignments": ["account_id", "strategy", "assigned_on"],
        "arrangements": ["account_id", "kind", "started_on"],
        "complaints": ["account_id", "at"],
        "surveys": ["account_id", "at"],
        "legal_cases": ["account_id", "filed_on"],
        "reasons": ["account_id", "noted_on", "reason"],
    }


def test_the_words_of_the_design_are_allowed():
    assert STATUSES == ("open", "charged_off", "settled", "sold", "closed")
    assert {"sms", "email", "call", "letter", "visit", "legal", "agency"} <= set(CHANNELS)
    assert {"no_answer", "contact", "promise", "refusal", "dispute", "hardship", "wrong_number"} == set(
        OUTCOMES
    )


def test_declarations_cannot_be_changed():
    with pytest.raises(ValidationError):
        TABLES["accounts"].name = "others"
    with pytest.raises(TypeError):
        TABLES["accounts"] = TABLES["snapshots"]


def test_a_table_that_sorts_by_a_column_it_lacks_is_refused():
    with pytest.raises(ValidationError, match="declares no column"):
        Table(name="t", one_row_is="a row", columns=(), date="day", sort=("day",))


def test_the_contract_as_a_table_says_what_is_allowed():
    allowed = contract().set_index(["table", "column"])["allowed"]
    assert allowed["snapshots", "days_past_due"] == "whole days ≥ 0"
    assert allowed["surveys", "score"] == "numbers from 0 to 100"


def test_book_yml_keeps_own_words_but_refuses_a_mistyped_key():
    assert About.model_validate({"name": "b", "seed": 7}).more == {"seed": 7}
    with pytest.raises(ValidationError, match="did you mean 'description'"):
        About.model_validate({"descripton": "x"})
