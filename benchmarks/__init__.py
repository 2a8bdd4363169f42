"""The pool beside prefork, and beside a pool that runs nothing. See docs/benchmarks.md."""
