-- What is proven about each UTC day of each pair?
--
-- certificates(pair, day, status, first_id, last_id, rows, missing, void, disowned, unreadable, first_time, last_time,
--              sha256, certified_rows, certified_sha256, proof)
--
--   status   complete  every id from the last trade before the day to the first trade after it is stored, void or
--                      disowned, or the exchange has confirmed that no trade came until the day's end; there are trades
--            empty     the same, without trades
--            partial   the day on which the promise begins, otherwise complete or empty: trades made before the
--                      promise are not covered by it
--            pending   today, which is not over
--            open      none of these: ids are missing, or the first or last trade is not known; or a day before the
--                      promise, if ids from then up to the promise are missing; or the day has fewer rows than when it
--                      was certified, or as many with other ids. A certified day is open for no other reason
--            unknown   the exchange has renumbered the pair since this day or an earlier one: stored and new trades
--                      cannot be compared. With recorder.connect() also every day if events cannot be read: then missing
--                      counts all ids that are not stored, also void and disowned ones
--   missing  ids between stored ones that may belong to the day; void, disowned and unreadable are the ids in these
--            states that would be there. An unreadable id exists but its row cannot be parsed: its day is open. Ids
--            around midnight count on both days.
--   sha256   digest of the canonical rows of the day (docs/format.md). Computed only if it is selected; select it for
--            a few days only, since all of their text is in memory at once.
--   certified_rows    and certified_sha256: the content of the day when it was last certified, NULL if it never was. If
--            the number of rows is the same and the sha256 is not, content was replaced and the day proves nothing.
--            To find that out the whole day must be read: `recorder verify` does it, this view does not
--
--   proof    ids        the status is complete, empty or partial
--            imported   it is not, and a history file has trades without ids of the whole day (bulk_days)
--            published  neither, and a history file has a candle of the day; NULL if there is nothing of all this
--
-- One row for each day from the promise, the first stored trade, or the first certified day, to today, or to the last
-- stored trade. If no promise was recorded, it is assumed to begin at the lowest stored id, unless the ids are known
-- down to 1. A trade stamped before 2011, or more than a year in the future, has a day of its own. `recorder verify`
-- reports the same, but first checks files against their footers and checksums; this view trusts them.

CREATE OR REPLACE VIEW certificates AS
WITH
-- The range of days to list for each pair, from times that are plausible.
ends AS (
    SELECT
        c.pair,
        least(
            min(utc_day(c.first_time)) FILTER (utc_day(c.first_time) BETWEEN '2011-01-01' AND utc_day(now()) + 366),
            min(utc_day(c.last_time)) FILTER (utc_day(c.last_time) BETWEEN '2011-01-01' AND utc_day(now()) + 366)
        ) AS first_day,
        greatest(
            max(utc_day(c.first_time)) FILTER (utc_day(c.first_time) BETWEEN '2011-01-01' AND utc_day(now()) + 366),
            max(utc_day(c.last_time)) FILTER (utc_day(c.last_time) BETWEEN '2011-01-01' AND utc_day(now()) + 366)
        ) AS last_day,
        min(c.first_id) AS first_id,
        utc_day(arg_min(c.first_time, c.first_id)) AS assumed_day
    FROM coverage_in(footer_files()) AS c
    GROUP BY c.pair
),
unheld AS MATERIALIZED (
    FROM missing_spans()
),
noted AS MATERIALIZED (
    FROM promises()
),
promised AS MATERIALIZED (
    SELECT
        p.pair,
        utc_day(p.time) AS day,
        p.after_id,
        coalesce(p.assumed AND p.after_id = 0, false) AS from_the_first
    FROM noted AS p
    UNION ALL
    SELECT e.pair, e.assumed_day, e.first_id - 1, false
    FROM ends AS e
    ANTI JOIN noted AS p
        ON e.pair = p.pair
    SEMI JOIN (FROM unheld AS u WHERE u.kind = 'before') AS b
        ON e.pair = b.pair
),
certified AS MATERIALIZED (
    FROM certified_days()
),
-- Pairs with row groups that reach before, or after, the days of the ends of all runs, which are all that footers tell
-- of: a trade inside a run may be stamped so. Such trades are before the one moment, or since the other.
beyond AS MATERIALIZED (
    SELECT
        t.pair,
        CASE WHEN t.last_time < t.late THEN t.early ELSE 'infinity' END AS before,
        CASE WHEN t.first_time >= t.early THEN t.late ELSE '-infinity' END AS since
    FROM (
        SELECT
            e.pair,
            t.first_time,
            t.last_time,
            coalesce(day_start(e.first_day), 'infinity') AS early,
            coalesce(day_start(greatest(e.last_day, utc_day(now())) + 1), '-infinity') AS late
        FROM time_limits() AS t
        JOIN ends AS e
            ON t.pair = e.pair
    ) AS t
    WHERE NOT coalesce(t.first_time >= t.early AND t.last_time < t.late, false)
),
-- The days of such trades. If there are no such pairs, as nearly always, the range ends before it begins, and nothing is
-- read. From a list, so that DuckDB expects few days: it must look for trades by days, not for days by all trades.
beyond_days AS MATERIALIZED (
    SELECT unnest(list({pair: o.pair, day: o.day}), recursive := true)
    FROM (
        SELECT DISTINCT t.pair, utc_day(t.time) AS day
        FROM sound_trades() AS t
        SEMI JOIN beyond AS b
            ON t.pair = b.pair
        WHERE t.time >= (SELECT coalesce(min(b.since), 'infinity') FROM beyond AS b)
            AND t.time < (SELECT coalesce(max(b.before), '-infinity') FROM beyond AS b)
    ) AS o
),
noted_days AS (
    SELECT o.pair, o.day FROM beyond_days AS o
    UNION ALL
    SELECT p.pair, p.day FROM promised AS p
    UNION ALL
    SELECT f.pair, f.day FROM certified AS f
),
bounds AS (
    SELECT e.pair, unnest([e.first_day, e.last_day]) AS day FROM ends AS e
    UNION ALL
    SELECT n.pair, CASE WHEN n.day BETWEEN '2011-01-01' AND utc_day(now()) + 366 THEN n.day END FROM noted_days AS n
),
calendar AS (
    SELECT
        b.pair,
        unnest(
            generate_series(
                coalesce(min(b.day), utc_day(now())), greatest(max(b.day), utc_day(now())), INTERVAL 1 DAY
            )
        )::DATE AS day
    FROM bounds AS b
    GROUP BY b.pair
    UNION
    SELECT n.pair, n.day FROM noted_days AS n
),
-- A time at which no trade can have been made does not count as a limit.
timed AS (
    SELECT
        u.*,
        CASE
            WHEN utc_day(u.from_time) BETWEEN '2011-01-01' AND utc_day(now()) + 366 THEN u.from_time
            ELSE '-infinity'::TIMESTAMPTZ
        END AS early,
        CASE
            WHEN utc_day(u.until_time) BETWEEN '2011-01-01' AND utc_day(now()) + 366 THEN u.until_time
            ELSE 'infinity'::TIMESTAMPTZ
        END AS late
    FROM unheld AS u
),
-- The days on which trades with these ids can have been made. Times can step back a little, even across midnight.
absent AS (
    SELECT
        t.pair,
        t.kind,
        t.last_id - t.first_id + 1 AS ids,
        utc_day(least(t.early, t.late)) AS from_day,
        utc_day(greatest(t.early, t.late)) AS until_day
    FROM timed AS t
    -- Ids below an anchor are not promised.
    ANTI JOIN (FROM promised AS p WHERE p.after_id IS NOT NULL) AS p
        ON t.kind = 'before' AND t.pair = p.pair
    UNION ALL
    -- A day before the promise is history, and proven only if no id is missing up to the promise.
    SELECT t.pair, 'apart', 0, '-infinity'::DATE, least(utc_day(t.late), p.day - 1)
    FROM timed AS t
    JOIN promised AS p
        ON t.pair = p.pair
    WHERE t.kind IN ('before', 'missing') AND t.first_id <= p.after_id
    UNION ALL
    SELECT p.pair, 'apart', 0, '-infinity'::DATE, p.day - 1
    FROM promised AS p
    WHERE p.after_id IS NULL
),
counted AS (
    SELECT
        c.pair,
        c.day,
        coalesce(sum(a.ids) FILTER (a.kind = 'missing'), 0)::BIGINT AS missing,
        coalesce(sum(a.ids) FILTER (a.kind = 'void'), 0)::BIGINT AS void,
        coalesce(sum(a.ids) FILTER (a.kind = 'disowned'), 0)::BIGINT AS disowned,
        coalesce(sum(a.ids) FILTER (a.kind = 'unreadable'), 0)::BIGINT AS unreadable,
        count(*) FILTER (a.kind NOT IN ('void', 'disowned')) AS unproven,
        count(*) FILTER (a.kind IN ('missing', 'unreadable')) AS holes,
        any_value(c.pair) AS symbol
    FROM calendar AS c
    LEFT JOIN absent AS a
        ON c.pair = a.pair AND c.day >= a.from_day AND c.day <= a.until_day
    GROUP BY c.pair, c.day
),
-- By day, so that trades are joined by equality, and by time, so that only trades of the requested days are read.
rows_of AS (
    SELECT
        c.pair,
        c.day,
        c.missing,
        c.void,
        c.disowned,
        c.unreadable,
        c.unproven,
        c.holes,
        min(t.trade_id) AS first_id,
        max(t.trade_id) AS last_id,
        count(t.trade_id) AS rows,
        min(t.time) AS first_time,
        max(t.time) AS last_time,
        sha256(string_agg(
            concat_ws(
                ',',
                t.trade_id,
                rtrim(rtrim(t.price::VARCHAR, '0'), '.'),
                rtrim(rtrim(t.qty::VARCHAR, '0'), '.'),
                t.side
            ) || chr(10),
            '' ORDER BY t.trade_id
        ) FILTER (t.trade_id IS NOT NULL)) AS sha256
    FROM sound_trades() AS t
    RIGHT JOIN counted AS c
        ON t.pair = c.symbol
        AND utc_day(t.time) = c.day
        AND t.time >= day_start(c.day)
        AND t.time < day_start(c.day + 1)
    GROUP BY c.pair, c.day, c.missing, c.void, c.disowned, c.unreadable, c.unproven, c.holes
),
-- How many of the certified ids the archive's owner has disowned, before or since.
let_go AS (
    SELECT
        f.pair,
        f.day,
        sum(least(f.last_id, s.last_id) - greatest(f.first_id, s.first_id) + 1) AS ids
    FROM certified AS f
    JOIN absent_spans() AS s
        ON f.pair = s.pair AND s.first_id <= f.last_id AND s.last_id >= f.first_id
    WHERE s.state = 'disowned'
    GROUP BY f.pair, f.day
),
imported AS (
    SELECT d.pair, d.day
    FROM bulk_days_in(imported_files('bulk_trades')) AS d
    WHERE NOT d.partial
),
published AS (
    SELECT DISTINCT b.pair, utc_day(b.time) AS day
    FROM stored_bulk_ohlc() AS b
    WHERE b.timeframe = '1d'
),
judged AS (
    SELECT
        r.pair,
        r.day,
        CASE
            WHEN getvariable('recorder_lacks_events') OR r.day >= utc_day(n.from_time) THEN 'unknown'
            WHEN r.day >= utc_day(now()) THEN 'pending'
            WHEN r.holes > 0 OR (f.rows IS NULL AND r.unproven > 0) THEN 'open'
            WHEN r.rows < f.rows - coalesce(g.ids, 0) THEN 'open'
            WHEN r.rows = f.rows AND (r.first_id <> f.first_id OR r.last_id <> f.last_id) THEN 'open'
            WHEN r.day = p.day AND NOT p.from_the_first THEN 'partial'
            WHEN r.rows > 0 OR f.rows > 0 THEN 'complete'
            ELSE 'empty'
        END AS status,
        r.first_id,
        r.last_id,
        r.rows,
        r.missing,
        r.void,
        r.disowned,
        r.unreadable,
        r.first_time,
        r.last_time,
        r.sha256,
        f.rows AS certified_rows,
        f.sha256 AS certified_sha256
    FROM rows_of AS r
    LEFT JOIN promised AS p
        ON r.pair = p.pair
    LEFT JOIN certified AS f
        ON r.pair = f.pair AND r.day = f.day
    LEFT JOIN let_go AS g
        ON r.pair = g.pair AND r.day = g.day
    LEFT JOIN renumbered_pairs() AS n
        ON r.pair = n.pair
)
SELECT
    j.*,
    CASE
        WHEN j.status IN ('complete', 'empty', 'partial') THEN 'ids'
        WHEN i.day IS NOT NULL THEN 'imported'
        WHEN b.day IS NOT NULL THEN 'published'
    END AS proof
FROM judged AS j
LEFT JOIN imported AS i
    ON j.pair = i.pair AND j.day = i.day
LEFT JOIN published AS b
    ON j.pair = b.pair AND j.day = b.day
UNION ALL BY NAME
SELECT f.pair
FROM refused_pairs() AS f;
