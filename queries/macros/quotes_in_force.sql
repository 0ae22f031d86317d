-- What were the quotes of one pair, what preceded each, and until when was it in force?
--
-- quotes_in_force(pair, start, stop)  the quotes received in a range, preceded by those that were received before it and
--                                     still in force then; start inclusive, stop exclusive, NULL or left out: open end.
--                                     The columns of quotes, and these:
--   until              when it ceased to be in force: the next frame came, or its session ended. It is not in force at
--                      all if what came next could not be read, or nobody noted the end of its session
--   ended              whether no frame followed: until is the end of what is known
--   before_bid, before_bid_qty, before_ask, before_ask_qty
--                      the quote before it, in the same session; NULL after an interruption, or a frame that could not
--                      be read
--
-- Nothing is carried over the end of a session. Where sessions overlap, since two recorders were merged, the one that
-- began first counts until it ends, so that no change counts twice. All times here are receive times. Of the quotes
-- outside a range only those are read that share a session and a journal segment with its ends.

CREATE OR REPLACE MACRO quotes_in_force(pair, start := NULL, stop := NULL) AS TABLE
WITH
parts AS (
    SELECT s.session, s.last_message, s.first_received, s.last_received, s.ended
    FROM stored_quote_sessions() AS s
    WHERE s.pair = pair
),
-- Of each session, the last part that began before the range and the first one that ended in it or later hold its
-- neighbours.
sessions AS (
    SELECT
        p.session,
        max(p.last_message) AS last_message,
        max(p.ended) AS ended,
        min(p.first_received) AS begins,
        max(greatest(p.last_received, p.ended)) AS ends,
        max(p.first_received) FILTER (p.first_received < utc_moment(start)) AS low,
        min(p.last_received) FILTER (p.last_received >= utc_moment(stop)) AS high
    FROM parts AS p
    GROUP BY p.session
),
ends AS (
    SELECT
        coalesce(min(s.low) FILTER (s.ends >= utc_moment(start)), utc_moment(start)) AS low,
        coalesce(max(s.high) FILTER (s.begins < utc_moment(stop)), utc_moment(stop)) AS high
    FROM sessions AS s
),
counted AS (
    SELECT
        s.session,
        s.last_message,
        s.ended,
        max(s.ends) OVER (ORDER BY s.begins, s.session ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS counts_from
    FROM sessions AS s
),
read AS (
    SELECT q.*
    FROM stored_quotes() AS q
    WHERE q.pair = pair
        AND (start IS NULL OR q.received >= (SELECT e.low FROM ends AS e))
        AND (stop IS NULL OR q.received <= (SELECT e.high FROM ends AS e))
),
linked AS (
    SELECT
        r.*,
        lead(r.received) OVER frames AS next_received,
        lead(r.message) OVER frames = r.message + 1 AS is_followed,
        lag(r.message) OVER frames = r.message - 1 AS is_preceded,
        lag(r.bid) OVER frames AS lag_bid,
        lag(r.bid_qty) OVER frames AS lag_bid_qty,
        lag(r.ask) OVER frames AS lag_ask,
        lag(r.ask_qty) OVER frames AS lag_ask_qty
    FROM read AS r
    WINDOW frames AS (PARTITION BY r.session ORDER BY r.message)
),
timed AS (
    SELECT
        l.*,
        coalesce(l.received >= s.counts_from, true) AS is_counted,
        greatest(l.received, CASE
            WHEN l.is_followed THEN l.next_received
            WHEN l.message = s.last_message THEN coalesce(s.ended, l.received)
            ELSE l.received
        END) AS until
    FROM linked AS l
    LEFT JOIN counted AS s
        ON l.session = s.session
)
SELECT
    t.pair,
    t.time,
    t.received,
    t.until,
    t.is_followed IS NOT TRUE AS ended,
    t.bid,
    t.bid_qty,
    t.ask,
    t.ask_qty,
    t.last,
    CASE WHEN t.is_preceded THEN t.lag_bid END AS before_bid,
    CASE WHEN t.is_preceded THEN t.lag_bid_qty END AS before_bid_qty,
    CASE WHEN t.is_preceded THEN t.lag_ask END AS before_ask,
    CASE WHEN t.is_preceded THEN t.lag_ask_qty END AS before_ask_qty,
    t.session,
    t.message
FROM timed AS t
WHERE t.is_counted
    AND (stop IS NULL OR t.received < utc_moment(stop))
    AND (start IS NULL OR t.received >= utc_moment(start) OR t.until > utc_moment(start));
