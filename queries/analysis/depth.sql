-- How much was offered near the middle of the order book of one pair, at regular moments?
--
-- $pair          VARCHAR              the v2 symbol, 'BTC/USD'
-- $every         INTERVAL = 1 minute  the time between two moments
-- $start         TIMESTAMPTZ          the first moment is the first multiple of every at or after it
-- $stop          TIMESTAMPTZ          the last moment is before it
-- $basis_points  DECIMAL = 10         how far from the middle, in hundredths of a percent
--
-- Needs a recorded book. The macro depth_bars() describes the columns.

SELECT * EXCLUDE (pair)
FROM depth_bars($pair, $start, $stop, $every, basis_points := $basis_points)
ORDER BY moment;
