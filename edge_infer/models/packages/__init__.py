"""Packages of models: manifest, files, store, signature, catalogue, download."""
