"""YAML files with errors that name the line, the key and the remedy: nodes, scalars, fields, sections."""
