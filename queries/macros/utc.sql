-- Which time is meant, and on which UTC day is it, independent of the session's TimeZone?
--
-- utc_moment(moment)  an end of a range in any form, as a TIMESTAMPTZ: text with or without a zone, a DATE (the
--                     midnight that begins it), a TIMESTAMP or a TIMESTAMPTZ; UTC if it has no zone. Fractions of a
--                     microsecond are rounded up, as no trade is in between. NULL stays NULL.
-- utc_day(moment)     the day of a TIMESTAMPTZ; infinite if the time is
-- day_start(day)      the midnight that begins it
-- first_midnight(moment) and last_midnight(moment)  the midnights at or before the start and at or after the stop of a
--                     range, so that all of its days are whole; NULL stays NULL
--
-- Casts use the session's TimeZone, and `time::DATE` takes ten times as long as utc_day(time).

-- With a lambda, so that the argument is expanded once: macros as arguments of macros would become hundreds of copies.
CREATE OR REPLACE MACRO utc_moment(moment) AS list_transform([moment], lambda given: coalesce(
    TRY_CAST(given::VARCHAR || ' UTC' AS TIMESTAMPTZ),
    TRY_CAST(given::VARCHAR || ' 00:00 UTC' AS TIMESTAMPTZ),
    given::TIMESTAMPTZ
) + to_microseconds(regexp_matches(given::VARCHAR, '\.\d{6}\d*[1-9]')::BIGINT))[1];

CREATE OR REPLACE MACRO utc_day(moment) AS coalesce(make_timestamp(epoch_us(moment))::DATE, moment::DATE);

CREATE OR REPLACE MACRO day_start(day) AS make_timestamptz(epoch_us(day));

CREATE OR REPLACE MACRO first_midnight(moment) AS day_start(utc_day(utc_moment(moment)));

CREATE OR REPLACE MACRO last_midnight(moment) AS
    day_start(utc_day(make_timestamptz(epoch_us(utc_moment(moment)) - 1)) + 1);
