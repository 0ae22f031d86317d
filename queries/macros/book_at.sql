-- What was in the order book of one pair at a moment?
--
-- book_at(pair, moment, depth, by)
--   moment  a time in any form, such as '2025-11-10 12:00:00'
--   depth   levels of each side; 10 unless it is named
--   by      'received', which is the default, or 'time': whose clock the moment is of
--
-- book_at(pair, moment, session, message, time, received, side, level, price, qty, verified)
--
-- See book_levels(), whose columns these are: verified says what is proven by checksums, all else is as received.

CREATE OR REPLACE MACRO book_at(pair, moment, depth := 10, by := 'received') AS TABLE
SELECT b.pair, b.moment, b.session, b.message, b.time, b.received, b.side, b.level, b.price, b.qty, b.verified
FROM book_levels(pair, [utc_moment(moment)], "by") AS b
WHERE b.level <= depth
UNION ALL BY NAME
FROM without_book(pair)
ORDER BY side DESC, level;
