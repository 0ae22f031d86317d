-- How did the order book change? One row for each price that a message sets, as received.
--
-- book(pair, time, received, session, message, position, kind, side, price, qty, checksum, date,
--      verified)
--
-- (pair, session, message, position) identifies a row. Within one session, the last row per side and price in the order
-- of message and position is the book, without rows whose qty is zero. kind is snapshot, update, evicted (the level fell
-- out of the window, which the exchange does not say) or checkpoint (the whole book, written down by the recorder). time
-- is the exchange's, NULL where the frame has none; received is when it came, by the clock of the recording host. date is
-- the UTC date of received, by which files are found: name it in WHERE. A message without levels is one row without side,
-- price and qty. checksum is the exchange's, on the last row of a snapshot or checkpoint. verified tells whether the
-- checksum after the message held, which covers the best ten levels of each side: other rows are as received.

CREATE OR REPLACE VIEW book AS
SELECT
    s.pair,
    s.time,
    s.received,
    s.session,
    s.message,
    s.position,
    s.kind,
    s.side,
    s.price,
    s.qty,
    s.checksum,
    s.date,
    coalesce(s.message <= p.last_message AND s.message IS DISTINCT FROM p.mismatch, false) AS verified
FROM stored_book() AS s
LEFT JOIN (
    SELECT
        n.pair,
        n.session,
        max(n.last_message) AS last_message,
        max(n.last_message) FILTER (n.mismatches > 0) AS mismatch
    FROM stored_book_sessions() AS n
    GROUP BY n.pair, n.session
) AS p
    ON s.pair = p.pair AND s.session = p.session;
