"""Keyed pseudonyms: true HMAC, one per identifier and kind, and a key that is kept to its owner."""

from __future__ import annotations

import hashlib
import hmac
import stat

import pytest

from collectlab.core.engine import connection
from collectlab.core.errors import ParamsError
from collectlab.core.privacy import FILE, VARIABLE, Key, find_key, pseudonym_sql

SECRET = "a secret of the bank's own"


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_pseudonym_is_hmac_sha256_of_kind_and_identifier():
    stretched = hashlib.scrypt(SECRET.encode(), salt=b"collectlab pseudonyms", n=2**14, r=8, p=1, dklen=64)
    plain = hmac.new(stretched, b"account:L1", hashlib.sha256).hexdigest()
    assert Key(SECRET).pseudonym("account", "L1") == "a" + plain[:16]


def test_the_engine_computes_the_same():
    key, ids = Key(SECRET), ["L1", "L0003865", "", "客户 7", "o'Neil", "5"]
    with key.in_engine():
        values = ", ".join(f"('{i.replace(chr(39), chr(39) * 2)}')" for i in ids)
        for kind in ("account", "customer", "agent", "action", "payment"):
            sql = f"SELECT id, {pseudonym_sql(kind, 'id')} FROM (VALUES {values}, (NULL)) t(id)"
            told = dict(connection().execute(sql).fetchall())
            assert told == {**{i: key.pseudonym(kind, i) for i in ids}, None: None}
    # Outside there is no key left in the engine.
    left = connection().execute(f"SELECT {pseudonym_sql('account', chr(39) + 'L1' + chr(39))}").fetchall()
    assert left == [(None,)]


def test_kinds_and_keys_differ():
    one, other = Key(SECRET), Key("another secret, also long")
    assert one.pseudonym("account", 5)[1:] != one.pseudonym("customer", 5)[1:]
    assert one.pseudonym("account", 5) == one.pseudonym("account", "5") != other.pseudonym("account", 5)
    assert one.fingerprint != other.fingerprint
    assert SECRET not in repr(one) and one.fingerprint in repr(one)


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    key, said = find_key(tmp_path)
    again, said_again = find_key(tmp_path)
    assert key.fingerprint == again.fingerprint
    assert "a new key" in said and "a new key" not in said_again and FILE in said
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).read_text().strip() not in said + said_again


def test_the_environment_goes_before_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    key, said = find_key(tmp_path)
    assert key.fingerprint == Key(SECRET).fingerprint
    assert SECRET not in said and not list(tmp_path.iterdir())


def test_bad_keys_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "too short")
    with pytest.raises(ParamsError, match=r"COLLECTLAB_KEY: .* 9 characters. Needed: at least 16"):
        find_key(tmp_path)
    monkeypatch.delenv(VARIABLE)
    (tmp_path / FILE).write_text("x\n")
    with pytest.raises(ParamsError, match=r"\.pseudonym_key: .* 1 characters"):
        find_key(tmp_path)
    with pytest.raises(ParamsError, match=r"cannot be made .* COLLECTLAB_KEY"):
        find_key(tmp_path / "nowhere")
