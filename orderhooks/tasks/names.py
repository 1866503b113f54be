"""The names of the tasks. Queues know them by these; a worker of an older release may find them in its queue."""

PUMP = "orderhooks.tasks.pump"
NOTIFY = "orderhooks.tasks.notify"
PRUNE = "orderhooks.tasks.prune"
RECONCILE = "orderhooks.tasks.reconcile"

# What a queue's scheduler runs: the first each minute, the others each day.
SWEEP_SCHEDULE = "orderhooks sweep"
DAILY_SCHEDULES = {"orderhooks prune": PRUNE, "orderhooks reconcile": RECONCILE}
