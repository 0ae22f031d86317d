-- What were the best bid and ask? One row for each frame, as received.
--
-- quotes(pair, time, received, bid, bid_qty, ask, ask_qty, last, session, message)
--
-- (pair, session, message) identifies a row. Nobody knows whether the exchange merges changes before it sends them.
-- time is the exchange's, NULL where the frame has none; received is when it came, by the clock of the recording host.
-- bid and ask are prices, NULL or zero on a side that was empty; last is the price of the last trade. session is when
-- the session's first frame came, in ns since 1970; message counts its frames from 0. Two neighbouring rows of a
-- session are neighbouring frames only if their messages are: quote_sessions tells what is missing.

CREATE OR REPLACE VIEW quotes AS
SELECT s.pair, s.time, s.received, s.bid, s.bid_qty, s.ask, s.ask_qty, s.last, s.session, s.message
FROM stored_quotes() AS s;
