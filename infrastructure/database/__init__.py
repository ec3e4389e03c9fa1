"""The one SQL database: connections, transactions and wake-ups."""
