"""What collection is worth: dated prices, present value by strategy, and what is incremental to doing nothing."""
