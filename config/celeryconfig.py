"""A configuration to start from: Celery on the worker pool of ``celery_workerpool``.

    app.config_from_object("celeryconfig")

What has no ``#`` before it is in force; what has one shows the default or an example. Every
setting of the pool is explained in docs/settings.md, Celery's own in Celery's documentation.
"""

# ── broker and results ───────────────────────────────────────────────────────────────────────
# CELERY_BROKER_URL and CELERY_RESULT_BACKEND in the environment outrank these two.
broker_url = "redis://127.0.0.1:6379/0"
result_backend = "redis://127.0.0.1:6379/0"
result_expires = 24 * 3600  # seconds
broker_connection_retry_on_startup = True

# ── the pool ─────────────────────────────────────────────────────────────────────────────────
worker_pool = "celery_workerpool:WorkerPool"
# worker_concurrency = 8  # children; default: one for each CPU

# Or as many as the load asks for, and the machine has room for, between these two:
# workerpool_enable_auto_scaling = True
# workerpool_min_workers = 2
# workerpool_max_workers = 8

# What the worker has fetched it starts by priority, so the order is only as good as what was
# fetched: messages ahead, times the children. Lower it where tasks are long and workers many.
# worker_prefetch_multiplier = 4

# Seconds of waiting that lift a task by one of the four levels, so that LOW never starves.
# workerpool_priority_aging = 30.0

# A message without a priority counts as 0: with Redis the most urgent, with RabbitMQ the least.
# The middle, with Redis:
task_default_priority = 6
# RabbitMQ orders a queue only if it was declared so, and refuses to change one that exists:
# task_queue_max_priority = 9

# ── limits ───────────────────────────────────────────────────────────────────────────────────
# No task may hang for ever. First an exception in the task, then, if that does not help, the
# end of its child and of all its descendants. Tasks that need more set their own.
task_soft_time_limit = 540  # seconds
task_time_limit = 600

# A child above this is replaced after its task. Kibibytes of resident memory.
worker_max_memory_per_child = 512 * 1024
# Above 1.5 times that it is killed at once, before the kernel kills something else.
workerpool_memory_kill_ratio = 1.5
# workerpool_memory_sample_interval = 1.0  # seconds between two looks

# Against slow leaks: a fresh child after so many tasks. Its replacement is started before.
worker_max_tasks_per_child = 1000
# Sooner than that, when nothing waits for it; or when it is a day old.
# workerpool_max_tasks_per_worker = 500
# workerpool_max_worker_age = 86400.0

# Seconds until a new child must be ready; raise it where the app takes long to set up.
# workerpool_start_timeout = 60.0

# ── when a worker stops, or a task is lost ───────────────────────────────────────────────────
# Ctrl-C twice, or SIGQUIT: seconds that running tasks get before they are ended.
worker_soft_shutdown_timeout = 10.0
# Seconds that a task which was told to end may take while the worker stops.
# workerpool_terminate_grace = 5.0

# A task is acknowledged when it is handed to a child: if its child dies it fails, and is not
# run again. Tasks that may run twice can ask for that instead:
# task_acks_late = True
# task_reject_on_worker_lost = True

# ── what monitoring needs ────────────────────────────────────────────────────────────────────
worker_send_task_events = True  # as -E; Flower lives on it
task_send_sent_event = True
task_track_started = True
worker_pool_restarts = True  # allows pool_restart, and Flower's button
