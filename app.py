"""Atoll as a Chalice app: the composition of its blueprints, and nothing else."""

from chalice import Chalice

from chalicelib.api import deliveries as delivery_routes
from chalicelib.api import http, mcp, namespaces, puppet, registry, sessions
from chalicelib.workers import changes, deliveries, lifecycle, tasks

app = Chalice(app_name="atoll")

for module in (sessions, namespaces, delivery_routes, registry, puppet, mcp):
    app.register_blueprint(module.routes)

for worker in (lifecycle, changes, tasks, deliveries):
    app.register_blueprint(worker.lambdas)

http.add_error_shape(app)
