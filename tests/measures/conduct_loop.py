"""The audit of contact rules as a compliance officer would do it by hand: action by action, window by window."""

import datetime as dt

import pandas as pd

DAY = dt.timedelta(days=1)
VOICE = {"call", "robot_call", "visit", "agency"}


def connected(action):
    if not pd.isna(action.get("connected")):
        return bool(action["connected"])
    if pd.isna(action.get("outcome")):
        return None
    return action["outcome"] not in ("no_answer", "wrong_number")


def is_counted(rule, action):
    answer = connected(action)
    if rule.counted == "connected":
        return answer is True and action.get("party") != "third_party"
    if rule.counted == "unanswered":
        return answer is False
    if rule.counted == "visit":
        return action["channel"] == "visit"
    if rule.counted == "contact":
        return answer is True or (answer is None and action["channel"] not in VOICE)
    return True


def is_free(rule, action):
    return any(word in action and not pd.isna(action[word]) and bool(action[word]) for word in rule.unless)


def in_same_window(window, earlier, now):
    if window.hours:
        return now["at"] - earlier["at"] < dt.timedelta(hours=window.hours)
    first, last = earlier["at"].date(), now["at"].date()
    if window.days:
        return (last - first).days < window.days
    if window.calendar == "week":
        return first.isocalendar()[:2] == last.isocalendar()[:2]
    if window.calendar == "month":
        return (first.year, first.month) == (last.year, last.month)
    return first == last


def breaks(rule, rules, history, now, holds):
    """Whether an action breaks the rule, given those of the same key before it, oldest first."""
    if rule.kind == "hours":
        day = now["at"].date()
        name = ("weekday",) * 5 + ("saturday", "sunday")
        kind = "holiday" if day in rules.holidays else name[day.weekday()]
        span = rule.allowed.of(kind)
        minute = now["at"].hour * 60 + now["at"].minute
        return span is None or not span[0] <= minute < span[1]
    if rule.kind == "count":
        near = [a for a in history if is_counted(rule, a) and not is_free(rule, a)]
        return sum(in_same_window(rule.window, a, now) for a in near) >= rule.limit
    if rule.kind == "after":
        talks = [a for a in history if connected(a) is True and a.get("party") != "third_party"]
        return bool(talks) and in_same_window(rule.window, talks[-1], now)
    if rule.kind == "party":
        if now["party"] != "third_party":
            return False
        since = 0
        for i, a in enumerate(history):
            if a.get("party") == "debtor" and connected(a) is True:
                since = i + 1
        tried, after = history[since:], rule.allowed_after
        if after and after.wrong_number and any(a.get("outcome") == "wrong_number" for a in tried):
            return False
        failed = sum(connected(a) is False and a.get("party") != "third_party" for a in tried)
        return not (after and after.unanswered is not None and failed >= after.unanswered)
    day = now["at"].date()
    return any(
        h["account_id"] == now["account_id"] and h["from"] <= day and (h["to"] is None or day <= h["to"])
        for h in holds
    )


def loop(log, books, accounts=None, holds=()):
    """Rule key → (actions the rule applies to, those that break it), as positions in ``log``."""
    owner = {}
    if accounts is not None and "customer_id" in accounts:
        owner = dict(zip(accounts["account_id"], accounts["customer_id"]))
    actions = [{**row, "row": i} for i, row in enumerate(log.to_dict("records"))]
    actions.sort(key=lambda a: a["at"])
    found = {}
    for rules in books:
        for rule in rules.rules:
            if rule.kind == "fact" or (rule.kind == "hold" and not holds):
                continue
            applies, broken, past = [], [], {}
            for now in actions:
                if rule.channels is not None and now["channel"] not in rule.channels:
                    continue
                if not rule.holds_on(now["at"].date()):
                    continue
                key = now["account_id"]
                if rule.per == "customer":
                    key = owner.get(key, key)
                elif rule.per == "number" and "number" in now:
                    key = (owner.get(key, key), now["number"])
                history = past.setdefault(key, [])
                unknown = rule.kind == "party" and pd.isna(now.get("party"))
                if is_counted(rule, now) and not is_free(rule, now) and not unknown:
                    applies.append(now["row"])
                    if breaks(rule, rules, history, now, holds):
                        broken.append(now["row"])
                history.append(now)
            found[rule.key] = (applies, broken)
    return found
