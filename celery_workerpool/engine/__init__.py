"""Owns the waiting tasks and the children, and applies decisions. Knows nothing of Celery."""
