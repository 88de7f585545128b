"""Alembic's folder. A migration must work with the previous release's code."""
