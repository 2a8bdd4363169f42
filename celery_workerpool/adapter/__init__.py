"""The only code that knows Celery: the pool class, its steps, and what runs in a child."""
