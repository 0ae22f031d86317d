-- Were the recorded quotes of one pair ever the best prices of its recorded book?
--
-- quote_audit(pair, start, stop, tolerance)
--   start, stop  of the quotes, by receive time; start inclusive, stop exclusive
--   tolerance    how far apart the two may have been received; '2 seconds' if left out
--
-- quote_audit(pair, received, bid, bid_qty, ask, ask_qty, session, message, verdict)
--   session, message  of the quote
--   verdict           equal: within the tolerance the best bid and ask of the book had these prices and quantities;
--                     absent: they never had; unknown: the book was not recorded without interruption all that time
--
-- Both are as received, by one host's clock, but over different connections, each of which has its own delay: that is
-- what the tolerance is for. A book and a quote that are both right may still differ, if the exchange merges changes of
-- one of the two before it sends them: single absent quotes prove nothing, and many are worth a look.

CREATE OR REPLACE MACRO quote_audit(pair, start, stop, tolerance := '2 seconds') AS TABLE
WITH
sessions AS (
    SELECT
        s.session,
        min(s.first_received) AS begins,
        max(greatest(s.last_received, s.ended)) AS ends
    FROM stored_book_sessions() AS s
    WHERE s.pair = pair
    GROUP BY s.session
),
tops AS (
    SELECT
        b.moment,
        b.session,
        any_value(b.price) FILTER (b.side = 'bid') AS bid,
        any_value(b.qty) FILTER (b.side = 'bid') AS bid_qty,
        any_value(b.price) FILTER (b.side = 'ask') AS ask,
        any_value(b.qty) FILTER (b.side = 'ask') AS ask_qty
    FROM book_levels_between(
        pair,
        (
            SELECT list_append(list(DISTINCT r.received), utc_moment(start) - tolerance::INTERVAL)
            FROM stored_book() AS r
            WHERE r.pair = pair
                AND r.date BETWEEN utc_day(utc_moment(start)) - 1 AND utc_day(utc_moment(stop)) + 1
                AND r.received >= utc_moment(start) - tolerance::INTERVAL
                AND r.received < utc_moment(stop) + tolerance::INTERVAL
        ),
        utc_moment(start) - tolerance::INTERVAL,
        utc_moment(stop) + tolerance::INTERVAL,
        'received'
    ) AS b
    WHERE b.level = 1
    GROUP BY b.moment, b.session
),
held AS (
    SELECT
        t.*,
        coalesce(lead(t.moment) OVER (PARTITION BY t.session ORDER BY t.moment), s.ends) AS until
    FROM tops AS t
    LEFT JOIN sessions AS s
        ON t.session = s.session
),
quoted AS (
    SELECT q.received, q.bid, q.bid_qty, q.ask, q.ask_qty, q.session, q.message
    FROM stored_quotes() AS q
    WHERE q.pair = pair AND q.received >= utc_moment(start) AND q.received < utc_moment(stop)
),
found AS (
    SELECT DISTINCT q.session, q.message
    FROM quoted AS q
    INNER JOIN held AS h
        ON q.bid = h.bid AND q.bid_qty = h.bid_qty AND q.ask = h.ask AND q.ask_qty = h.ask_qty
        AND h.moment <= q.received + tolerance::INTERVAL
        AND h.until >= q.received - tolerance::INTERVAL
        AND h.until >= h.moment
),
covered AS (
    SELECT DISTINCT q.session, q.message
    FROM quoted AS q
    INNER JOIN sessions AS s
        ON s.begins <= q.received - tolerance::INTERVAL AND s.ends >= q.received + tolerance::INTERVAL
)
SELECT
    pair AS pair,
    q.received,
    q.bid,
    q.bid_qty,
    q.ask,
    q.ask_qty,
    q.session,
    q.message,
    CASE WHEN f.message IS NOT NULL THEN 'equal' WHEN c.message IS NOT NULL THEN 'absent' ELSE 'unknown' END AS verdict
FROM quoted AS q
LEFT JOIN found AS f
    ON q.session = f.session AND q.message = f.message
LEFT JOIN covered AS c
    ON q.session = c.session AND q.message = c.message
UNION ALL BY NAME
FROM without_book(pair)
ORDER BY received;
