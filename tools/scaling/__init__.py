"""How the pool's size follows a load: this pool's autoscaling and Celery's, simulated."""
