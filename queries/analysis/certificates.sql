-- What is proven about each UTC day of each pair, and what is its digest?
--
-- $pair    VARCHAR = NULL      the v2 symbol, 'BTC/USD'; NULL: all pairs
-- $start   TIMESTAMPTZ = NULL  the first day is the one that contains it; NULL: all
-- $stop    TIMESTAMPTZ = NULL  the last day is the last that begins before it; NULL: all
-- $hashed  BOOLEAN = false     also compute the SHA-256 of the day's rows, which reads every row
--
-- The view certificates describes the columns and the values of status.

SELECT
    c.pair,
    c.day,
    CASE WHEN $hashed AND c.rows = c.certified_rows AND c.sha256 <> c.certified_sha256 AND c.status <> 'pending'
        THEN 'open' ELSE c.status END AS status,
    c.rows,
    c.missing,
    c.void,
    c.disowned,
    c.unreadable,
    c.first_id,
    c.last_id,
    CASE WHEN $hashed THEN c.sha256 END AS sha256,
    c.proof
FROM certificates AS c
WHERE ($pair IS NULL OR c.pair = $pair)
    AND ($start IS NULL OR c.day >= utc_day(utc_moment($start)))
    AND ($stop IS NULL OR c.day <= utc_day(make_timestamptz(epoch_us(utc_moment($stop)) - 1)))
ORDER BY c.pair, c.day;
