"""The configuration file: its schema, its loader, and the plan that the rooms get of it."""
