"""Whether read models say what the log says, and mending those that do not."""
