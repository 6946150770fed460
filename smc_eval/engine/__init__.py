"""The engine: trains, prunes, predicts and certifies the cells of a run."""
