"""Contact rules as data, and the audit of the action log against them."""

from collectlab.measures.conduct.audit import audit
from collectlab.measures.conduct.audit_result import Audit
from collectlab.measures.conduct.rules import ContactRules, Rule
from collectlab.measures.conduct.rules_file import load_rules

__all__ = ["Audit", "ContactRules", "Rule", "audit", "load_rules"]
