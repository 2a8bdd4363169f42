"""Decisions. Nothing here reads a clock, starts a process or imports Celery."""
