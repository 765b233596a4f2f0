"""The keys of the configuration file, section by section: allowed values, meaning, default."""
