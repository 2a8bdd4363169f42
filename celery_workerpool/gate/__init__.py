"""Where tasks wait for others: the stores, and the worker's part in keeping and releasing them."""
