"""Atoll as a Chalice app: the composition of its blueprints, and nothing else."""

from chalice import Chalice

from chalicelib.api import deliveries as deliveries_api
from chalicelib.api import agent_options, http, namespaces, registry, sessions
from chalicelib.workers import changes, deliveries, lifecycle, tasks

app = Chalice(app_name="atoll")

for module in (sessions, namespaces, registry, agent_options, deliveries_api):
    app.register_blueprint(module.routes)

for worker in (lifecycle, changes, tasks, deliveries):
    app.register_blueprint(worker.lambdas)

http.add_error_shape(app)
