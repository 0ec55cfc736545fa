"""Case files: success and problem cases picked by a stated rule, pseudonymised, each drawn as one timeline."""

from collectlab.measures.cases.pick import Case, Cases, pick
from collectlab.measures.cases.timeline import CaseFile, CaseFiles, files, timeline

__all__ = ["Case", "CaseFile", "CaseFiles", "Cases", "files", "pick", "timeline"]
