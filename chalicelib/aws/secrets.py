"""Secrets Manager, through Powertools' cache."""

from chalicelib.settings import Settings

#: How long a secret is believed, in seconds: a rotation is seen within it.
MAX_AGE_S = 60


class Secrets:
    """The secrets of this deployment, by the last part of their names."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.prefix

    def get(self, name: str) -> str:
        """Return a secret's text; ``agent-key`` is ``atoll-<stage>/agent-key``. Raises what AWS has answered."""
        from aws_lambda_powertools.utilities.parameters import GetParameterError, get_secret

        try:
            return str(get_secret(f"{self._prefix}/{name}", max_age=MAX_AGE_S))
        except GetParameterError as error:
            # Powertools hides whether it was a throttle, and so whether to try again.
            raise (error.__cause__ or error.__context__ or error) from error
