"""A frozen book with a key: pseudonyms in every table, no free text, and what is a category is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from collectlab.book.freeze import freeze
from collectlab.book.freeze_private import FREE_TEXT, identified, is_private, said
from collectlab.book.open import Book, open_book
from collectlab.core.errors import ParamsError
from collectlab.core.privacy import FILE, VARIABLE, Key

SECRET, OTHER = "a secret of the bank's own", "another secret, also long"
N = 120


def ids(numbers: bool = False) -> list:
    return [7000 + i for i in range(N)] if numbers else [f"LOAN-{i:05d}" for i in range(N)]


def frames(numbers: bool = False) -> dict[str, pd.DataFrame]:
    accounts = ids(numbers)
    return {
        "accounts": pd.DataFrame(
            {
                "account_id": accounts,
                "customer_id": [f"C{i // 2}" for i in range(N)],
                "product": ["card", "auto"] * (N // 2),
                "product_name": ["Silver", "Family car"] * (N // 2),
                "purpose": ["home", "education", "a new car or a used one of the dealer's choice"] * (N // 3),
                "balance_band": ["low", "high"] * (N // 2),
                "children": [i % 4 for i in range(N)],
                "collateral": [1_000_003 * (i + 1) for i in range(N)],
                "since": pd.to_datetime(["2020-01-31"] * N),
                "occupation": ["clerk"] * (N - 2) + ["nurse; ring her sister on 139 1234 5678", "a@b.org"],
                # Each of these says who it is.
                "Borrower Name": [f"Name{i}" for i in range(N)],
                "mobile": [13_900_000_000 + i for i in range(N)],
                "contact": [f"+86 139 0000 {i:04d}" for i in range(N)],
                "reach": [f"someone{i}@example.org" for i in range(N)],
                "k1": [13_900_000_000.0 + i for i in range(N)],
                "partner": [accounts[(i + 7) % N] for i in range(N)] if not numbers else "none",
                "contract_no": [40_000 + 13 * i for i in range(N)],
                "customerNote": ["paid late"] * N,
                "said": [f"Told us about the trouble that number {i} had with the roof" for i in range(N)],
                "备注": ["x"] * N,
            }
        ),
        "snapshots": pd.DataFrame(
            [
                (a, day, "ask Mr Li" if i == 3 else 10 * (i % 3))
                for day in ("2026-01-31", "2026-02-28")
                for i, a in enumerate(accounts)
            ],
            columns=["account_id", "as_of", "days_past_due"],
        ),
        "actions": pd.DataFrame(
            {
                "action_id": [f"ACT{i}" for i in range(N)],
                "account_id": accounts,
                "at": "2026-02-03 10:00",
                "channel": ["rang Mrs Wu"] + ["call"] * (N - 1),
                "agent": ["Anna Smith", "Bob Ray"] * (N // 2),
                "team": ["North", "South"] * (N // 2),
            }
        ),
        "complaints": pd.DataFrame(
            {
                "account_id": accounts[:60],
                "at": "2026-02-03 10:00",
                "kind": [f"the collector shouted at me on call {i}, I am Li" for i in range(40)]
                + ["rude"] * 20,
            }
        ),
    }


@pytest.fixture(scope="module")
def book() -> Book:
    return open_book(frames(), name="telling")


@pytest.fixture(scope="module")
def frozen(book, tmp_path_factory) -> tuple[Book, Path]:
    folder = tmp_path_factory.mktemp("frozen") / "one"
    return freeze(book, folder, key=SECRET), folder


def rows(book: Book, table: str) -> pd.DataFrame:
    return book.table(table).collect().to_native().to_pandas()


def test_identifiers_become_the_same_pseudonym_in_every_table(frozen):
    key, shown = Key(SECRET), frozen[0]
    expected = {key.pseudonym("account", i) for i in ids()}
    assert set(rows(shown, "accounts")["account_id"]) == expected
    assert set(rows(shown, "snapshots")["account_id"]) == expected - {key.pseudonym("account", "LOAN-00003")}
    assert set(rows(shown, "actions")["agent"]) == {
        key.pseudonym("agent", a) for a in ("Anna Smith", "Bob Ray")
    }
    assert rows(shown, "actions")["action_id"].str.fullmatch("x[0-9a-f]{16}").all()
    assert rows(shown, "accounts")["customer_id"].nunique() == N // 2


def test_nothing_but_identifiers_and_free_text_changes(book, frozen):
    key = Key(SECRET)
    was = rows(book, "accounts").assign(
        account_id=lambda t: [key.pseudonym("account", i) for i in t["account_id"]]
    )
    now = rows(frozen[0], "accounts")
    kept = [c for c in now.columns if c not in ("customer_id", "occupation")]
    pd.testing.assert_frame_equal(
        was.sort_values("account_id")[kept].reset_index(drop=True),
        now.sort_values("account_id")[kept].reset_index(drop=True),
        check_dtype=False,
    )
    assert (frozen[0].reconciliation == book.reconciliation).all(axis=None)


def test_what_tells_a_person_is_left_out_and_what_is_a_category_stays(frozen):
    out = said(frozen[0])["left_out"]
    assert set(out) == {
        f"accounts.{c}"
        for c in ("Borrower Name", "mobile", "contact", "reach", "k1", "partner", "contract_no", "customerNote", "said", "备注")
    }  # fmt: skip
    assert {"product", "product_name", "purpose", "balance_band", "children", "collateral", "since"} <= set(
        frozen[0].columns("accounts")
    )
    assert "e-mail" in out["accounts.reach"] and "identifiers" in out["accounts.partner"]


def test_free_text_in_the_contracts_own_columns_is_masked(frozen):
    assert said(frozen[0])["free_text"] == {"accounts.occupation": 2, "complaints.kind": 40}
    assert set(rows(frozen[0], "accounts")["occupation"]) == {"clerk", FREE_TEXT}
    assert set(rows(frozen[0], "complaints")["kind"]) == {"rude", FREE_TEXT}


def test_rows_set_aside_tell_no_one_either(book, frozen):
    was, now = book.quarantine, frozen[0].quarantine
    assert list(was["rows"]) == list(now["rows"]) and list(was["rule"]) == list(now["rule"])
    told = now.to_csv() + "".join(pd.read_parquet(p).to_csv() for p in frozen[1].glob("quarantine/*"))
    assert not any(word in told for word in ("LOAN", "Mr Li", "Mrs Wu", "Anna", "ACT0"))
    assert Key(SECRET).pseudonym("account", "LOAN-00003") in told


def test_no_byte_of_the_folder_holds_what_was_left_out(frozen):
    for file in frozen[1].rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content += pd.read_parquet(file).to_csv().encode()
            for word in (
                "LOAN-0",
                "139 0000",
                "13900000",
                "example.org",
                "shouted",
                "Smith",
                "roof",
                "sister",
                SECRET,
            ):
                assert word.encode() not in content, (file.name, word)


def test_freezing_again_changes_nothing_with_whatever_key(frozen, tmp_path):
    again = freeze(frozen[0], tmp_path / "again", key=OTHER)
    assert is_private(again) and said(again)["key"] == Key(SECRET).fingerprint
    for file in frozen[1].rglob("*.*"):
        if file.is_file():
            assert (tmp_path / "again" / file.relative_to(frozen[1])).read_bytes() == file.read_bytes()


def test_another_key_gives_other_pseudonyms_and_the_same_key_the_same_bytes(book, frozen, tmp_path):
    same, other = freeze(book, tmp_path / "same", key=SECRET), freeze(book, tmp_path / "other", key=OTHER)
    manifests = [
        json.loads((p / "manifest.json").read_text())
        for p in (frozen[1], tmp_path / "same", tmp_path / "other")
    ]
    hashes = [m["tables"]["accounts"]["sha256"] for m in manifests]
    assert hashes[0] == hashes[1] != hashes[2]
    assert not set(rows(same, "accounts")["account_id"]) & set(rows(other, "accounts")["account_id"])
    assert said(other)["key"] != said(same)["key"]


def test_whole_numbers_as_identifiers(tmp_path):
    shown = freeze(open_book(frames(numbers=True)), tmp_path / "n", key=SECRET)
    assert set(rows(shown, "accounts")["account_id"]) == {
        Key(SECRET).pseudonym("account", i) for i in ids(True)
    }


def test_a_column_can_be_kept_but_no_identifier(book, tmp_path):
    shown = freeze(book, tmp_path / "kept", key=SECRET, keep=["accounts.contract_no", "said"])
    assert {"contract_no", "said"} <= set(shown.columns("accounts"))
    with pytest.raises(ParamsError, match=r"no table has a column 'contract'.*contract_no"):
        freeze(book, tmp_path / "x", key=SECRET, keep=["contract"])
    with pytest.raises(ParamsError, match="'agent' holds identifiers"):
        freeze(book, tmp_path / "y", key=SECRET, keep=["agent"])
    assert not (tmp_path / "x").exists()


def test_a_book_that_only_says_it_is_private_is_not(tmp_path):
    source = tmp_path / "raw"
    source.mkdir()
    for name, frame in frames().items():
        if name in ("accounts", "snapshots"):
            frame[["account_id", *[c for c in frame if c in ("as_of", "days_past_due")]]].to_csv(
                source / f"{name}.csv", index=False
            )
    (source / "book.yml").write_text(
        "name: copied\nprivacy: {key: '00000000', left_out: {}, free_text: {}}\n"
    )
    assert not is_private(open_book(source))
    assert is_private(freeze(source, tmp_path / "frozen", key=SECRET))


def test_identify_finds_whom_a_pseudonym_stands_for(book, frozen, tmp_path, monkeypatch):
    key = Key(SECRET)
    asked = [
        key.pseudonym("agent", "Bob Ray"),
        key.pseudonym("account", "LOAN-00017"),
        key.pseudonym("customer", "C4"),
    ]
    monkeypatch.setenv(VARIABLE, SECRET)
    assert identified(asked, book, tmp_path) == dict(zip(asked, ("Bob Ray", "LOAN-00017", "C4")))
    with pytest.raises(ParamsError, match="no identifier of telling has that pseudonym"):
        identified(["a0000000000000000"], book, tmp_path)
    with pytest.raises(ParamsError, match="pseudonyms only"):
        identified(asked, frozen[0], tmp_path)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ParamsError, match="no key"):
        identified(asked, book, tmp_path)
    assert not (tmp_path / FILE).exists()
