"""Atoll as a Chalice app: the composition of its blueprints, and nothing else."""

from chalicelib import cold_start

cold_start.prepare()

from chalice.app import Chalice  # noqa: E402

from chalicelib.api import (  # noqa: E402
    agent_options,
    auth,
    budgets,
    console,
    cors,
    docs,
    errors,
    events,
    history,
    logs,
    namespaces,
    payments,
    puppet,
    registry,
    sessions,
    threads,
    webhooks,
)
from chalicelib.api import deliveries as deliveries_api  # noqa: E402
from chalicelib.api import mcp as mcp_api  # noqa: E402
from chalicelib.live import sockets  # noqa: E402
from chalicelib.workers import (  # noqa: E402
    audit,
    changes,
    deliveries,
    entries,
    lifecycle,
    log_lines,
    mcp,
    models,
    reconcile,
    tasks,
    turns,
)

app = Chalice(app_name="atoll")

for module in (
    auth,
    sessions,
    threads,
    events,
    logs,
    history,
    budgets,
    namespaces,
    deliveries_api,
    webhooks,
    puppet,
    registry,
    payments,
    agent_options,
    mcp_api,
    docs,
    console,
):
    app.register_blueprint(module.routes)

for worker in (
    lifecycle,
    changes,
    entries,
    tasks,
    deliveries,
    reconcile,
    mcp,
    models,
    sockets,
    audit,
    log_lines,
    turns,
):
    app.register_blueprint(worker.lambdas)

errors.add_error_shape(app)
cors.add_cors(app)
