"""One run's mathematics: settings, the loop, evaluation, checkpoints."""
