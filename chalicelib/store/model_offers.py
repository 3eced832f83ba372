"""``MODELS#`` of the api-keys table: which providers of models there are, and which models each serves.

The operator writes it beside the secret that has the same with the providers' keys: the API's function chooses models
by it, and cannot read those.
"""

from collections.abc import Sequence

from pydantic import TypeAdapter

from chalicelib.store.items import Key
from chalicelib.store.table import Table
from chalicelib.wire.llm_proxy import ModelOffer

_KEY: Key = {"keyHash": "MODELS#"}

_OFFERS = TypeAdapter(list[ModelOffer])


class ModelOffers:
    """The item of that table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def all(self) -> list[ModelOffer]:
        """Read what is offered, in the configured order."""
        item = self._table.get(_KEY)
        return _OFFERS.validate_json(item["offers"]) if item else []

    def replace(self, offers: Sequence[ModelOffer]) -> None:
        """Offer this in place of what was offered before."""
        self._table.put({**_KEY, "offers": _OFFERS.dump_json(list(offers), by_alias=True).decode()})
