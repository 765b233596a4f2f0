"""The configuration file: its schema, its loader, and its compilation into the plan that every process receives."""
