"""Pure rules of the email ledger: values, events, the Email aggregate, delivery policy."""
