"""Contact rules as data, and the audit of the action log against them."""

from collectlab.measures.conduct.rules import ContactRules, Rule, load_rules

__all__ = ["ContactRules", "Rule", "load_rules"]
