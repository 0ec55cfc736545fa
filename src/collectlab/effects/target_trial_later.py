"""The immortal-time rule: a treatment that is defined by what happens after time zero is refused, and why.

Whoever "was visited" had to stay past due until the visit; whoever "kept a promise" has paid. Comparing such
accounts with the others credits the treatment with the time, or the money, that made it possible.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from collectlab.core.errors import FrameError, first_few

#: Columns of a cohort that are only known after time zero, besides every ``…_within_h``.
LATER_COLUMNS = ("followed", "end_day", "outcome", "exit_day", "seen_day", "observed_day", "ended_on")
LATER_COLUMNS += ("max_days_past_due",)
_LATER = re.compile(r"\w+_(within|after)_\d+$")
#: A channel as people write what was done with it.
_CHANNELS = {
    "visit": r"visit(s|ed)?",
    "call": r"call(s|ed)?|phone[ds]?",
    "letter": r"letter(s)?|lettered|written[ _]to",
    "sms": r"sms|texted|messaged",
    "email": r"e?mail(s|ed)?",
    "legal": r"legal|sued|court",
    "agency": r"agency|outsourced|placed[ _]with[ _](an[ _])?agency",
}
_EVER = re.compile(
    r"^(was|were|ever|has|had|got|received|being|been)[ _]|\b(visited|called|phoned|sued|outsourced)\b"
)
_REACHED = re.compile(r"(reach\w*|dpd|days?[ _]past[ _]due|bucket|roll\w*|stage)")


class LaterTreatment(FrameError):
    """A treatment defined by something after time zero; ``nearest_question`` is one that can be answered."""

    def __init__(self, fault: str, nearest_question: str):
        self.nearest_question = nearest_question
        super().__init__(f"{fault} Nearest question: {nearest_question}.")


def refuse_later(
    treatment: str, grace: int | None = None, days_past_due: int | None = None, follow_up: int | None = None
) -> None:
    """Refuse a treatment that is defined by something that happens after time zero.

    Parameters
    ----------
    treatment : str
        A channel of the action log, or what someone calls a treatment: ``was visited``, ``reached_60``.
    grace : int, optional
        Days after time zero within which the treatment must start. None: at any time ("ever").
    days_past_due : int, optional
        Days past due at time zero, for the wording of the nearest question.
    follow_up : int, optional
        Days of follow-up, for the same.

    Returns
    -------
    None
        If the treatment can be part of a strategy that an account could be put under at time zero.

    Raises
    ------
    LaterTreatment
        With the reason and, as ``nearest_question``, the nearest question that can be answered.

    References
    ----------
    Hernán, Sauer, Hernández-Díaz, Platt & Shrier (2016), J. Clinical Epidemiology 79, 70–75.

    Examples
    --------
    >>> refuse_later("visit", grace=14)
    >>> try:
    ...     refuse_later("was visited", days_past_due=30)
    ... except LaterTreatment as refused:
    ...     print(refused.nearest_question)
    start a visit within 14 days of being 30 days past due, against never starting one, among those still past due then
    """
    said = str(treatment).strip().lower()
    days = 14 if grace is None else grace
    zero = "time zero" if days_past_due is None else f"being {days_past_due} days past due"
    among = "among those still past due then"
    short = f" and follow them for {follow_up} days" if follow_up else ""

    def channel_question(channel: str) -> str:
        thing = thing_of(channel)
        never = "never starting it" if channel == "legal" else "never starting one"
        return f"start {thing} within {days} days of {zero}, against {never}, {among}{short}"

    if re.search(r"promis|\bptp\b", said):
        raise LaterTreatment(
            f"{treatment!r} is not decided at time zero: whoever keeps a promise has paid by then, so the outcome "
            "defines the treatment.",
            channel_question("call"),
        )
    paying = r"\bcured?\b|\b(re)?paid\b|\bpay(s|ing|er|ers|ment|ments)?\b"
    if "plan" not in said and re.search(paying, said.replace("_", " ")):
        raise LaterTreatment(
            f"{treatment!r} is what the treatments are meant to bring about, not a treatment: it is the outcome, "
            "seen after time zero.",
            f"{channel_question('call')}, with this as the outcome",
        )
    if re.search(r"plan|arrangement|deferr|restructur|settle|forb(o|ea)r", said):
        raise LaterTreatment(
            f"{treatment!r} is signed by those who stayed past due until then and were willing to sign: who has it is "
            "only known after time zero.",
            f"offer a plan within {days} days of {zero} (if offers are logged as a channel), {among}{short}",
        )
    if _REACHED.search(said):
        reached = re.search(r"\d+", said)
        to = f" {reached[0]} days past due" if reached else " that many days past due"
        raise LaterTreatment(
            f"{treatment!r} is defined by staying past due: only accounts that did not cure before can reach it.",
            f"start a visit within {days} days of being{to}, against never starting one, {among}{short}",
        )
    channel = next(
        (c for c, words in _CHANNELS.items() if re.search(rf"\b({words})\b", said.replace("_", " "))), None
    )
    if channel is not None and (_EVER.search(said) or grace is None):
        raise LaterTreatment(
            f"{treatment!r} with no time by which it must start means: ever. An account has to stay past due to get it, "
            "so the time before is credited to it (immortal time).",
            channel_question(channel),
        )
    if grace is None:
        raise LaterTreatment(
            f"{treatment!r} with no time by which it must start means: ever, which is only known afterwards.",
            channel_question(said.replace("_", " ") or "call"),
        )


def thing_of(channel: str) -> str:
    """A channel as something that is started, with its article.

    Parameters
    ----------
    channel : str
        As the action log calls it.

    Returns
    -------
    str

    Examples
    --------
    >>> thing_of("visit"), thing_of("sms"), thing_of("legal")
    ('a visit', 'an SMS', 'legal action')
    """
    known = {"legal": "legal action", "agency": "an agency placement", "sms": "an SMS", "email": "an e-mail"}
    return known.get(channel, f"{'an' if channel[:1] in 'aeiou' else 'a'} {channel}")


def later_columns(columns: Iterable[str]) -> list[str]:
    """Those of these columns that are only known after time zero.

    Parameters
    ----------
    columns : iterable of str
        Names of columns of a cohort.

    Returns
    -------
    list of str

    Examples
    --------
    >>> later_columns(["credit_score", "end_day", "paid_within_30"])
    ['end_day', 'paid_within_30']
    """
    return [c for c in columns if c.lower() in LATER_COLUMNS or _LATER.match(c.lower())]


def later_faults(role: str, columns: Iterable[str]) -> list[str]:
    """One fault for the columns that are known too late for this role, or none."""
    late = later_columns(columns)
    if not late:
        return []
    return [
        f"{role}: {first_few(late)} known only after time zero. Allowed: what was known at time zero, such as "
        "days_past_due, strategy, credit_score."
    ]
