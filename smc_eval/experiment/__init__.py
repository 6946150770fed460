"""The experiment: the run configuration, the grid of cells, and the stages of each cell."""
