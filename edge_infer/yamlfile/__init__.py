"""YAML files with errors that name line, key and remedy: nodes, scalars, fields, sections."""
