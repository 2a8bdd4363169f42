"""What the repository's own commands need: servers for tests, conformance and benchmarks."""
