"""A generator of short stories for small models: plots and words in text files, a seed, and no two stories alike.

`stories/plots/*.txt` holds a plot each, `stories/words/*.txt` who and what there is; see `stories.grammar` for how they
are read. `python -m stories` writes a text and trains the starter model on it.
"""
