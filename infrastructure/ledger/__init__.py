"""The event store: the `eventsourcing` library's recorders, with group commit, batched load and content rows added."""
