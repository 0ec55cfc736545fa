"""What collection is worth: dated prices, present value by strategy, and what is incremental to doing nothing."""

from collectlab.measures.worth.incremental import Incremental, incremental
from collectlab.measures.worth.present_value import PresentValue, present_value
from collectlab.measures.worth.present_value_money import MoneyFlows, book_flows, money_flows
from collectlab.measures.worth.present_value_rows import present_values
from collectlab.measures.worth.prices import Prices, load_prices
from collectlab.measures.worth.prices_laid import price_actions

__all__ = ["Incremental", "MoneyFlows", "PresentValue", "Prices", "book_flows", "incremental", "load_prices"]
__all__ += ["money_flows", "present_value", "present_values", "price_actions"]
