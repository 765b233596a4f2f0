"""From tracks and labels to events: zones, lines, event ledger, and the decision record."""
