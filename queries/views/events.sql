-- What happened to the recorder and at the exchange? One row per event.
--
-- events(time, kind, pair, detail)
--
-- time is when the event was recorded, pair is NULL if it concerns no single pair, and detail is JSON:
-- detail ->> 'reason' is one of its fields as text. docs/format.md lists the kinds and their details.
--
-- The process that records quotes and books has tables of its own for what happens to it, stored_market_events() and
-- stored_book_events().

CREATE OR REPLACE VIEW events AS
SELECT e.time, e.kind, e.pair, e.detail::JSON AS detail
FROM stored_events() AS e
UNION ALL
SELECT m.time, m.kind, m.pair, m.detail::JSON AS detail
FROM stored_market_events() AS m
UNION ALL
SELECT b.time, b.kind, b.pair, b.detail::JSON AS detail
FROM stored_book_events() AS b;
