"""YAML files whose errors name the line, the key and the remedy: nodes, scalars, fields, sections."""
