"""The content of a TFLite file, read without a runtime."""
