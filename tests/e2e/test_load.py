"""`make load` in its small form: pages and requests at a web process beside an engine whose ticks flow, without a look at the clock."""

import json
from functools import partial
from pathlib import Path

from benchmarks.load import Loaded, Web, meanwhile

PAGES, REQUESTS = 3, 10


def test_open_pages_and_requests_are_served_while_the_engine_trades(tmp_path: Path) -> None:
    loaded, web = Loaded(tmp_path), None
    try:
        loaded.serve(60.0, lambda: loaded.broker.subscribed)
        web = meanwhile(loaded, partial(Web, tmp_path, loaded.state, PAGES, REQUESTS))
        meanwhile(loaded, partial(web.say, "go"))
        for _ in range(3):
            loaded.order()
        told = json.loads(meanwhile(loaded, partial(web.say, "stop")))
        shown = web.shows(loaded, 3)
    finally:
        if web is not None:
            web.close()
        loaded.close()
    assert len(loaded.broker.orders) == 3, "each frame that asked for an order brought one, and no other did"
    assert (told["pages"], told["failures"]) == (PAGES, [])
    assert told["updates"] >= PAGES, "every page was told of something"
    assert told["requests"] > 0
    assert shown, "the API shows the orders that the broker has"
