"""The page at `/`: the cockpit in a browser, the first client of our own HTTP API.

How a page is made (one file for each under api/dashboard/pages/, listed in pages/__init__.py):

- **It is one function** `async def show(visit: Visit) -> None` that builds NiceGUI elements inside the frame (header, banner and
  navigation are there already), and one line in PAGES: `Page("/strategies", "Strategies", "tune", strategies.show)`. `role` says who may
  open it (viewer, trader, owner).
- **It reads** through `await visit.api.get("/api/v1/journal", kind="refused")`: the routes of the API with this person's own token, in this
  process. So rights, limits, validation and redaction are the API's, once. An answer that is no success raises `Refused` (status, text).
  What changes by itself comes from `visit.on_live(update)`: `update(board)` is called at once and at each change, at most twice a second,
  with the daemon's status, orders, positions and signals as /api/v1/live gives them; `board.stale` says that they are old.
- **It acts** through `await visit.api.post(path, body)`, mostly as `await visit.act(visit.api.post(...), "the order is sent")`, which shows
  the outcome or the refusal and returns the answer or None. Wrap controls that need a role in `if visit.may("trader"):`. Nothing of
  trading is decided or remembered here; no broker, ledger or vault is touched.
- **It does not block**: handlers are `async`; `visit.api` runs the routes in threads. What takes long (a broker's answer) is loaded after
  the page stands: `ui.timer(0.1, load, once=True)`.
- **It looks like the rest**: `card("Title")`, `Table([Column(...), ...])`, `Figure(...)`, `badge(...)` of parts.py; classes of style.css
  and Quasar (`row`, `col`, `gt-xs`); no Tailwind (its compiler is not loaded), no inline event handlers and no script of one's own (the
  page's policy refuses them). Text of others goes into labels and tables, never into `ui.html`. Give what a test looks for a
  `.mark("name")`; it is the attribute `data-testid`.
- **It is tested** in a real browser: tests/browser/ (`make test-browser`), `Person` of tests/browser/stage.py signs in and walks; without
  Chromium those tests are skipped and say so.
"""
