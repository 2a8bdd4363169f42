"""Celery's own integration tests, on this pool and on prefork.

    source ──▶ sessions ──▶ plugin (inside pytest) ──▶ outcomes ──▶ judge ──▶ report
    sdist      servers,     picks the pool,            per test     what      the table
               pytest       writes a record                         differs

    python -m tools.conformance [--quick] [--pool POOL] [--select EXPRESSION] [--broker BROKER]

The tests are those of the installed Celery's version, untouched. A test that prefork passes and
this pool does not is a difference, and the exit code is 1.
"""
