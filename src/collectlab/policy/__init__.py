"""What to do next: the scorecard against targets, findings with their evidence, recommendations.

>>> import collectlab as cl
>>> card = cl.policy.scorecard(kpis, "params/targets.yml", on="2026-10-31")                # doctest: +SKIP
>>> found = cl.policy.findings({"scorecard": card}, targets="params/targets.yml", on="2026-10-31")  # doctest: +SKIP
>>> cl.policy.recommend(found)                                                            # doctest: +SKIP
"""

from collectlab.policy.advice import Recommendation, Recommendations
from collectlab.policy.agencies import load_agencies
from collectlab.policy.diagnosis import Diagnosis, diagnose
from collectlab.policy.evidence import evidence
from collectlab.policy.findings import Finding, Findings, find
from collectlab.policy.findings import find as findings
from collectlab.policy.rating import rating_sensitivity
from collectlab.policy.recommendations import recommend
from collectlab.policy.scorecard import Scorecard, scorecard
from collectlab.policy.strategy import Strategy, load_strategy
from collectlab.policy.targets import Targets, load_targets

__all__ = [
    "Diagnosis",
    "Finding",
    "Findings",
    "Recommendation",
    "Recommendations",
    "Scorecard",
    "Strategy",
    "Targets",
    "diagnose",
    "evidence",
    "find",
    "findings",
    "load_agencies",
    "load_strategy",
    "load_targets",
    "rating_sensitivity",
    "recommend",
    "scorecard",
]
