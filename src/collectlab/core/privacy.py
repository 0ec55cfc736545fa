"""Pseudonyms: identifiers replaced by a keyed hash, the same for the same identifier as long as the key is.

A plain hash would not do. Account numbers can be enumerated: whoever has the report hashes every number there
can be and looks the answers up. So the hash is keyed: HMAC-SHA256 (two nested hashes, each begun with a key
derived from a secret), which can be computed only by those who hold the secret.

>>> key = Key("a secret of the bank's own")
>>> key.pseudonym("account", "L0003865")
'a04275fd6a48ce542'
>>> key.pseudonym("account", "L0003865") == Key("another secret, also long").pseudonym("account", "L0003865")
False
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from collectlab.core.engine import connection
from collectlab.core.errors import ParamsError

#: The environment variable that holds the secret, and the file that holds it otherwise.
VARIABLE = "COLLECTLAB_KEY"
FILE = ".pseudonym_key"
SHORTEST = 16

#: What a pseudonym of each kind begins with, so that a reader knows what it stands for.
PREFIX = MappingProxyType(
    {"account": "a", "customer": "c", "agent": "g", "action": "x", "payment": "p", "number": "n"}
)
#: Sixteen hexadecimal digits: among ten million identifiers two meet once in 400,000 books.
DIGITS = 16
_BLOCK = 64


class Key:
    """A secret, made into the key of the pseudonyms. It is never shown or written.

    Parameters
    ----------
    secret : str
        At least 16 characters. It is stretched by scrypt, so that guessing a short one is slow.

    Raises
    ------
    ParamsError
        For a secret that is too short.

    Examples
    --------
    >>> Key("a secret of the bank's own")
    <Key d7ebb63f>
    >>> Key("short")
    Traceback (most recent call last):
    collectlab.core.errors.ParamsError: the key of the pseudonyms has 5 characters. Needed: at least 16.
    """

    def __init__(self, secret: str):
        secret = secret.strip()
        if len(secret) < SHORTEST:
            raise ParamsError(
                f"the key of the pseudonyms has {len(secret)} characters. Needed: at least {SHORTEST}."
            )
        self._key = hashlib.scrypt(
            secret.encode(), salt=b"collectlab pseudonyms", n=2**14, r=8, p=1, dklen=_BLOCK
        )

    @property
    def fingerprint(self) -> str:
        """Eight digits that tell two keys apart and say nothing else of them."""
        return hmac.new(self._key, b"fingerprint", hashlib.sha256).hexdigest()[:8]

    def pseudonym(self, kind: str, identifier: object) -> str:
        """The pseudonym of one identifier; what :func:`pseudonym_sql` computes in the engine."""
        text = f"{kind}:{identifier}".encode()
        return PREFIX[kind] + hmac.new(self._key, text, hashlib.sha256).hexdigest()[:DIGITS]

    @contextmanager
    def in_engine(self) -> Iterator[None]:
        """Within it, :func:`pseudonym_sql` works; the key stands in a variable and so in no query's text."""
        con = connection()
        inner, outer = (bytes(b ^ pad for b in self._key).hex() for pad in (0x36, 0x5C))
        con.execute(f"SET VARIABLE collectlab_inner = unhex('{inner}')")
        con.execute(f"SET VARIABLE collectlab_outer = unhex('{outer}')")
        try:
            yield
        finally:
            con.execute("RESET VARIABLE collectlab_inner")
            con.execute("RESET VARIABLE collectlab_outer")

    def __repr__(self) -> str:
        return f"<Key {self.fingerprint}>"


def pseudonym_sql(kind: str, identifier: str) -> str:
    """SQL of the pseudonym of the SQL value ``identifier``; NULL stays NULL. Only within :meth:`Key.in_engine`.

    HMAC is ``sha256(outer || sha256(inner || text))``.
    """
    text = f"encode('{kind}:' || CAST({identifier} AS VARCHAR))"
    inside = f"unhex(sha256(getvariable('collectlab_inner')::BLOB || {text}))"
    return f"'{PREFIX[kind]}' || left(sha256(getvariable('collectlab_outer')::BLOB || {inside}), {DIGITS})"


def find_key(folder: str | Path) -> tuple[Key, str]:
    """The key in force, and a line that says where it comes from.

    The environment variable ``COLLECTLAB_KEY`` first; else the file ``.pseudonym_key`` in ``folder``, which is
    made, with a random key and readable by its owner alone, where it is not there yet.

    Raises
    ------
    ParamsError
        For a key that is too short, or a file that can be neither read nor made.
    """
    if given := os.environ.get(VARIABLE):
        try:
            key = Key(given)
        except ParamsError as error:
            raise ParamsError(f"{VARIABLE}: {error}") from None
        return key, f"identifiers are replaced by pseudonyms, with the key in {VARIABLE} ({key.fingerprint})"
    path = Path(folder) / FILE
    new = not path.exists()
    try:
        if new:
            _make(path)
        key = Key(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(
            f"{path} cannot be {'made' if new else 'read'} ({error.strerror}). It holds the key of the pseudonyms. "
            f"Allowed instead: a secret of at least {SHORTEST} characters in the environment variable {VARIABLE}."
        ) from None
    except (ParamsError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: {error}") from None
    made = "a new key, kept" if new else "the key"
    advice = "; keep it safe: without it no one can tell whom a pseudonym stands for" if new else ""
    return (
        key,
        f"identifiers are replaced by pseudonyms, with {made} in {path.parent.name}/{FILE} ({key.fingerprint}){advice}",
    )


def _make(path: Path) -> None:
    """A random key, whole or not at all; of two runs that make one at a time, the first wins."""
    partial = path.with_name(f"{FILE}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()


__all__ = ["DIGITS", "FILE", "PREFIX", "SHORTEST", "VARIABLE", "Key", "find_key", "pseudonym_sql"]
