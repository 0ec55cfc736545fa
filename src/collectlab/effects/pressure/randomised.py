"""The arms of a test that differ in how often they contact, as a natural experiment in contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw

from collectlab.core.columns import day_number, row_count
from collectlab.core.engine import computed, same_engine, scan
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.after_assignment import first_episodes
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.experiment_compliers import complier_effect


def randomised(
    book: Any,
    *,
    outcome: str = "cured",
    channels: Sequence[str] = ("call",),
    control: str | None = None,
    horizon: int = 60,
    conf_level: float = 0.95,
) -> EffectResult:
    """Effect of one more contact by lot: the arms' difference in the outcome per difference in contacts.

    Where accounts were drawn into arms of different intensity, nobody chose who is contacted more. Each account's
    first episode after its assignment counts, from day 0; *received* is its number of contacts within ``horizon``
    days. The estimate is Wald's (:func:`~collectlab.effects.experiment_compliers.complier_effect`), with errors by
    customer. It holds if the arms differ in nothing else that acts on the outcome: a challenger that also writes
    more, or writes better, has that counted as the contacts' doing. Who is cured sooner is contacted less, so it is the
    effect per contact more *in the end*, above that of one contact by itself.

    Parameters
    ----------
    book : Book
        With ``assignments`` (randomised), actions, and what the outcome needs.
    outcome : {"cured", "amount", "complaints"}
        Back to current, CNY paid, or complaints within ``horizon`` days of day 0.
    channels : sequence of str
        What counts as a contact.
    control : str, optional
        The arm compared with.
    horizon : int
        Days from day 0.
    conf_level : float

    Returns
    -------
    EffectResult
        As of ``complier_effect``, of design ``experiment``.

    Raises
    ------
    NotAvailable
        No random assignment, no actions, or nobody drawn fell past due since.
    FrameError
        Another outcome.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=1500, months=12, truth_accounts=0).book_tables)
    >>> randomised(book).table[["outcome", "arm"]].values.tolist()
    [['cured_within_60', 'challenger']]
    """
    names = {"cured": "cured", "amount": "amount", "complaints": "complaints"}
    if outcome not in names:
        raise FrameError(f"outcome is {outcome!r}. Allowed: {', '.join(names)}.")
    if missing := [t for t in ("assignments", "actions") if not book.has(t)]:
        raise NotAvailable(f"this book has no {missing[0]}.")
    column = f"{outcome}_within_{horizon}"
    episodes = first_episodes(book, book.episodes("current_once"), horizons=(horizon,))
    if column not in episodes.collect_schema().names():
        raise NotAvailable(f"this book does not tell {outcome} of the accounts drawn.")
    acts = book.table("actions").filter(nw.col("channel").cast(nw.String).is_in(list(channels)))
    acts = acts.select("account_id", __on=day_number("at"))
    episodes, acts = same_engine(computed(episodes.with_columns(__start=day_number("started_on"))), acts)
    since = nw.col("__on") - nw.col("__start")
    made = episodes.select("account_id", "__start").join(acts, on="account_id", how="inner")
    made = made.filter((since >= 0) & (since <= horizon)).group_by("account_id").agg(contacts=row_count())
    frame = episodes.join(made, on="account_id", how="left")
    frame = frame.with_columns(contacts=nw.col("contacts").fill_null(0))
    have = frame.collect_schema().names()
    if "customer_id" not in have and "customer_id" in book.columns("accounts"):
        owners = scan(book.table("accounts")).select("account_id", "customer_id")
        frame, owners = same_engine(frame, owners)
        frame = frame.join(owners, on="account_id", how="left")
        have = frame.collect_schema().names()
    found = complier_effect(
        frame.filter(~nw.col(column).is_null()),
        received="contacts",
        outcome=column,
        control=control,
        cluster="customer_id" if "customer_id" in have else None,
        conf_level=conf_level,
    )
    what = channels[0] if len(channels) == 1 else "contact"
    return replace(found, title=f"Effect of one more {what}, by lot")
