"""Read models: one file each, with its tables, how it folds events, and its queries."""
