-- When were books recorded, and are they verified? One row per session of a pair.
--
-- book_sessions(pair, session, first_message, last_message, messages, verified, mismatches, missing, first_received,
--               last_received, depth, price_digits, qty_digits, verified_levels, ended, end_reason)
--
-- A session begins with a snapshot. verified is the number of messages whose checksum held; it covers the best
-- verified_levels levels of each side, deeper ones are as received. mismatches is 1 if the checksum of the last message
-- did not hold, last_received is when the last frame came whose checksum held, missing the number of messages that came and are not stored. ended is until when the session is known to
-- have run, and end_reason why it ended; both are NULL while it runs. Nothing is known of the time between sessions.
-- stored_book_sessions() has one row per session and drained journal segment.

CREATE OR REPLACE VIEW book_sessions AS
SELECT
    s.pair,
    s.session,
    min(s.first_message) AS first_message,
    max(s.last_message) AS last_message,
    sum(s.messages)::BIGINT AS messages,
    sum(s.verified)::BIGINT AS verified,
    sum(s.mismatches)::BIGINT AS mismatches,
    max(s.last_message) + 1 - sum(s.messages)::BIGINT AS missing,
    min(s.first_received) AS first_received,
    max(s.last_received) AS last_received,
    max(s.depth) AS depth,
    max(s.price_digits) AS price_digits,
    max(s.qty_digits) AS qty_digits,
    10 AS verified_levels,
    max(s.ended) AS ended,
    arg_max(s.end_reason, s.seen) AS end_reason
FROM stored_book_sessions() AS s
GROUP BY s.pair, s.session;
