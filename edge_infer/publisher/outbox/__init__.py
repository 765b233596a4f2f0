"""Messages that wait for the broker: scheduling, paging, database, delivery ledger."""
