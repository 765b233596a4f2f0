"""A delegate of the tests' own, in C: what a maker of accelerators ships, with faults by option."""
