-- What was in the order book of one pair at each of some moments, level by level?
--
-- book_levels(pair, moments, by)
--   moments  a list of TIMESTAMPTZ, such as [utc_moment('2025-11-10 12:00')]
--   by       'received': the state after the last message that had been received by then; 'time': that after the last
--            one that the exchange had stamped by then
--
-- book_levels(pair, moment, session, message, time, received, side, level, price, qty, verified)
--   level     counts the levels of a side from the best, 1
--   verified  whether the checksum of this message held, and that of a later one of its session, or the moment is its
--             own; no message is missing since a whole book; and the level is one of the best 10 of its side, which is
--             what checksums cover. Otherwise it is as received
--
-- Where sessions overlap, as those of two recorders that were merged, a verified one is shown, and of several the latest.
-- A moment of which nothing is known has no row; a pair without any recorded book is an error. A session counts until
-- its last message: whoever asks for a later moment gets that state, not verified. What is read are the rows since the
-- journal segment before the first moment; by time, those around it, since a host's clock may be off by a minute.
--
-- book_levels_between(pair, moments, first, last, by)  the same, of moments that lie between two times. DuckDB evaluates a
--                                                      computed list for each row that it filters, but a time only once
-- without_book(wanted)                                 no row if a book of the pair is stored, else an error

-- The error is in the filter, because a column that nobody reads is never computed.
CREATE OR REPLACE MACRO without_book(wanted) AS TABLE
SELECT NULL::VARCHAR AS pair
WHERE
    CASE
        WHEN EXISTS(SELECT 1 FROM stored_book_sessions() AS s WHERE s.pair = wanted)
            OR EXISTS(SELECT 1 FROM stored_book() AS b WHERE b.pair = wanted)
            THEN false
        ELSE error(
            'the archive holds no book of ''' || wanted || ''': books.pairs in the configuration names the pairs of '
            || 'which one is recorded'
        )::BOOLEAN
    END;

CREATE OR REPLACE MACRO book_levels_between(pair, moments, first, last, "by") AS TABLE
WITH
parts AS (
    SELECT s.session, s.first_received, s.last_received, s.last_message, s.first_message, s.mismatches
    FROM stored_book_sessions() AS s
    WHERE s.pair = pair
),
sessions AS (
    SELECT
        p.session,
        max(p.last_received) AS proven,
        max(p.last_message) FILTER (p.mismatches > 0) AS mismatch,
        max(p.first_received) FILTER (p.first_received <= first - book_slack("by")) AS segment_before
    FROM parts AS p
    GROUP BY p.session
),
-- Of sessions that ran at the first moment there are several where two recorders were merged.
ends AS (
    SELECT
        coalesce(
            min(s.segment_before) FILTER (s.proven >= first - book_slack("by")),
            max(s.segment_before),
            first - book_slack("by")
        ) AS low,
        last + book_slack("by") AS high
    FROM sessions AS s
),
read AS (
    SELECT
        b.*,
        CASE WHEN "by" = 'time' THEN coalesce(b.time, b.received) ELSE b.received END AS stamp
    FROM stored_book() AS b
    WHERE b.pair = pair
        AND b.date BETWEEN utc_day(first) - 3 AND utc_day(last) + 1
        AND b.received >= (SELECT e.low FROM ends AS e)
        AND b.received <= (SELECT e.high FROM ends AS e)
),
-- One row per message: how many there are up to it, and which was the last whole book.
messages AS (
    SELECT
        m.*,
        row_number() OVER session_so_far AS count,
        max(m.message) FILTER (m.is_whole) OVER session_so_far AS base,
        max(m.row_before_whole) OVER session_so_far AS count_at_base
    FROM (
        SELECT
            n.*,
            CASE WHEN n.is_whole THEN row_number() OVER (PARTITION BY n.session ORDER BY n.message) END
                AS row_before_whole
        FROM (
            SELECT
                r.session,
                r.message,
                any_value(r.time) AS time,
                any_value(r.received) AS received,
                max(r.stamp) AS stamp,
                bool_or(r.kind IN ('snapshot', 'checkpoint')) AS is_whole
            FROM read AS r
            GROUP BY r.session, r.message
        ) AS n
    ) AS m
    WINDOW session_so_far AS (PARTITION BY m.session ORDER BY m.message)
),
asked AS (
    SELECT unnest(list_distinct(moments)) AS moment
),
-- Of each session that had begun by then, the last message: stamps of the exchange may step back a little.
so_far AS (
    SELECT DISTINCT
        m.session,
        m.stamp,
        max(m.message) OVER (PARTITION BY m.session ORDER BY m.stamp) AS message
    FROM messages AS m
),
chosen AS (
    SELECT
        a.moment,
        f.session,
        f.message
    FROM (
        SELECT
            a.moment,
            s.session
        FROM asked AS a
        CROSS JOIN (SELECT DISTINCT m.session FROM messages AS m) AS s
    ) AS a
    ASOF INNER JOIN so_far AS f
        ON a.session = f.session AND a.moment >= f.stamp
),
-- The latest session that is verified then, and without any the latest.
shown AS (
    SELECT
        c.moment,
        m.*,
        coalesce(
            m.count - m.count_at_base = m.message - m.base
            AND m.message IS DISTINCT FROM s.mismatch
            AND (m.received < s.proven OR (m.received = s.proven AND m.stamp = c.moment)),
            false
        ) AS verified
    FROM chosen AS c
    INNER JOIN messages AS m
        ON m.session = c.session AND m.message = c.message
    LEFT JOIN sessions AS s
        ON m.session = s.session
    WHERE m.base IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY c.moment ORDER BY verified DESC, m.session DESC) = 1
),
-- Numbered, so that the levels of many messages are found by equality, whose costs grow with what is found alone.
numbered AS (
    SELECT
        d.*,
        row_number() OVER (PARTITION BY d.session ORDER BY d.message) AS number
    FROM (SELECT DISTINCT h.session, h.message FROM shown AS h) AS d
),
-- A row is in force until the next one of its price.
spans AS (
    SELECT
        r.session,
        r.side,
        r.price,
        r.qty,
        r.message,
        lead(r.message, 1, 9223372036854775807)
            OVER (PARTITION BY r.session, r.side, r.price ORDER BY r.message, r.position) AS until
    FROM read AS r
    WHERE r.side IS NOT NULL
),
met AS (
    SELECT
        p.*,
        f.number AS first_number
    FROM spans AS p
    ASOF INNER JOIN numbered AS f
        ON p.session = f.session AND p.message <= f.message
    WHERE p.qty > 0 AND f.message < p.until
),
held AS (
    SELECT
        m.session,
        m.side,
        m.price,
        m.qty,
        unnest(range(m.first_number, l.number + 1)) AS number
    FROM met AS m
    ASOF INNER JOIN numbered AS l
        ON m.session = l.session AND m.until > l.message
)
SELECT
    pair AS pair,
    h.moment,
    h.session,
    h.message,
    h.time,
    h.received,
    p.side,
    row_number() OVER best_first AS level,
    p.price,
    p.qty,
    h.verified AND row_number() OVER best_first <= 10 AS verified
FROM shown AS h
INNER JOIN numbered AS n
    ON h.session = n.session AND h.message = n.message
INNER JOIN held AS p
    ON n.session = p.session AND n.number = p.number
WINDOW best_first AS (
    PARTITION BY h.moment, p.side
    ORDER BY CASE WHEN p.side = 'bid' THEN -p.price ELSE p.price END
)
ORDER BY h.moment, p.side DESC, level;

CREATE OR REPLACE MACRO book_levels(pair, moments, "by") AS TABLE
FROM book_levels_between(pair, moments, list_min(moments), list_max(moments), "by")
UNION ALL BY NAME
FROM without_book(pair)
ORDER BY moment, side DESC, level;
