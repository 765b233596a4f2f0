"""The configuration file: its schema, its loader, and the plan that every process receives."""
