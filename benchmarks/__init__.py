"""What orderhooks costs, as ratios: `python -m benchmarks`, or `make bench`. README.md says how it is measured."""
