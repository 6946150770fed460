"""What runs: the loop, the walk along a chain, the store. The only wing with side effects."""
