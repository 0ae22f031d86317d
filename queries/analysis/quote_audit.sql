-- Were the recorded quotes of one pair ever the best prices of its recorded book?
--
-- $pair       VARCHAR               the v2 symbol, 'BTC/USD'
-- $start      TIMESTAMPTZ           the first quotes are those received at or after it
-- $stop       TIMESTAMPTZ           the last quotes are those received before it
-- $tolerance  INTERVAL = 2 seconds  how far apart the two may have been received
--
-- Needs recorded quotes and books. The macro quote_audit() describes the columns, and what an absent quote proves.

SELECT * EXCLUDE (pair)
FROM quote_audit($pair, $start, $stop, $tolerance)
ORDER BY received;
