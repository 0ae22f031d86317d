-- When were quotes recorded without interruption? One row per session of a pair.
--
-- quote_sessions(pair, session, first_message, last_message, rows, missing, first_received, last_received, ended)
--
-- A session begins with the first frame after a subscription. ended is until when it is known to have run: the last
-- sign of life of its connection; NULL while it runs, and for ever if the recorder was killed. rows is the number of
-- quotes, missing that of frames that came after the first of them and are not among them, because they could not be
-- read. Nothing is known of the time between sessions. Where quotes are kept for a time, a session loses its beginning
-- first. stored_quote_sessions() has one row per session and drained journal segment.

CREATE OR REPLACE VIEW quote_sessions AS
SELECT
    s.pair,
    s.session,
    min(s.first_message) AS first_message,
    max(s.last_message) AS last_message,
    sum(s.rows)::BIGINT AS rows,
    max(s.last_message) + 1 - coalesce(min(s.first_message), max(s.last_message) + 1) - sum(s.rows)::BIGINT AS missing,
    min(s.first_received) AS first_received,
    max(s.last_received) AS last_received,
    max(s.ended) AS ended
FROM stored_quote_sessions() AS s
GROUP BY s.pair, s.session;
