"""From a configuration file to a plan: references, named files, models and their trials."""
