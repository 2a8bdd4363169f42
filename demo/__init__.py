"""A demo of the pool: real work on a folder of files, watched live.

Run it with ``make demo``, or ``python -m demo [DIR]``.
"""
