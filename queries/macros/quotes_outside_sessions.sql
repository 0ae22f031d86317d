-- Of which stored quotes of one pair does no session tell?
--
-- quotes_outside_sessions(pair, start, stop)  by receive time; start inclusive, stop exclusive, NULL or left out: open
--                                             end
--
-- quotes_outside_sessions(pair, session, rows, first_message, last_message, first_received, last_received)
--
-- One row per session with such quotes; none in a sound archive. They are there where a file of `quote_sessions` is
-- lacking. What was received before and after them, and whether a frame between them is missing, is not known.

CREATE OR REPLACE MACRO quotes_outside_sessions(pair, start := NULL, stop := NULL) AS TABLE
WITH
parts AS (
    SELECT s.session, s.first_message, max(s.last_message) AS last_message
    FROM stored_quote_sessions() AS s
    WHERE s.pair = pair AND s.first_message IS NOT NULL
    GROUP BY s.session, s.first_message
),
received_quotes AS (
    SELECT q.session, q.message, q.received
    FROM stored_quotes() AS q
    WHERE q.pair = pair
        AND (start IS NULL OR q.received >= utc_moment(start))
        AND (stop IS NULL OR q.received < utc_moment(stop))
)
SELECT
    pair AS pair,
    r.session,
    count(*) AS rows,
    min(r.message) AS first_message,
    max(r.message) AS last_message,
    min(r.received) AS first_received,
    max(r.received) AS last_received
FROM received_quotes AS r
ASOF LEFT JOIN parts AS p
    ON r.session = p.session AND r.message >= p.first_message
WHERE coalesce(r.message > p.last_message, true)
GROUP BY r.session
ORDER BY r.session;
