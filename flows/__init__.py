"""The stages as plain functions, their command line and their Prefect flows."""
