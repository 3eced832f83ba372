"""The README's table is the one of the results that are kept."""

import json

from bench import short


def test_the_readme_shows_the_latest_results() -> None:
    readme = short.README.read_text()
    assert short.written(readme, json.loads(short.RESULTS.read_text())) == readme
