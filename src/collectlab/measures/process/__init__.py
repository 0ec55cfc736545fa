"""How the work was done: adherence, response times, handovers, contactability, revisits, gaps in the log."""

from collectlab.measures.process.adherence import adherence
from collectlab.measures.process.best_time import best_time
from collectlab.measures.process.contactability import contactability, revisits
from collectlab.measures.process.data_problems import data_problems
from collectlab.measures.process.handovers import handovers
from collectlab.measures.process.process_map import process_map
from collectlab.measures.process.promises import promise_follow_up
from collectlab.measures.process.response_times import response_times

__all__ = [
    "adherence",
    "best_time",
    "contactability",
    "data_problems",
    "handovers",
    "process_map",
    "promise_follow_up",
    "response_times",
    "revisits",
]
