"""From tracks and labels to events: zones, lines, the ledger of open events, and the record of decisions."""
